"""Checks of the ways by which people learn of problems."""

from collections.abc import Iterator

from smstracker.clock import format_age, utcnow
from smstracker.command_name import COMMAND
from smstracker.database.engine import reading_connection
from smstracker.doctor.check_result import CheckResult, ok, problem, warning
from smstracker.extensions import db, settings
from smstracker.models import ScheduledJob
from smstracker.models.jobs import JobName


def check_alerts() -> CheckResult:
    """Say where alerts go. Those of a demo need not go anywhere."""
    addresses = len(settings().alert_email)
    places = [f"{addresses} address{'es' * (addresses > 1)}"] if addresses else []
    places += ["a webhook"] if settings().alert_webhook_url else []
    heartbeat = "" if settings().heartbeat_url else "; HEARTBEAT_URL is not set"
    if places:
        return ok("alerts", f"go to {' and '.join(places)}{heartbeat}")
    if settings().demo:
        return ok("alerts", "go nowhere but to the page /alerts")
    fix = "set ALERT_EMAIL or ALERT_WEBHOOK_URL" + (", and HEARTBEAT_URL" if heartbeat else "")
    return warning("alerts", f"go nowhere but to the page /alerts{heartbeat}", fix)


def check_heartbeat() -> Iterator[CheckResult]:
    """Say whether the newest fetch of HEARTBEAT_URL was taken."""
    if not settings().heartbeat_url:
        return
    with reading_connection(db.engine) as connection:
        job = ScheduledJob.read(connection, JobName.HEARTBEAT)
    if job.failed_at:
        detail = f"HEARTBEAT_URL was not taken {format_age(job.failed_at, utcnow())}: {job.failure}"
        fix = f"compare it with the address at the outside service, then {COMMAND} alerts test"
        yield problem("heartbeat", detail, fix)
    elif job.done_at:
        yield ok("heartbeat", f"HEARTBEAT_URL was taken {format_age(job.done_at, utcnow())}")
    else:
        yield ok("heartbeat", "the worker has not fetched HEARTBEAT_URL yet")
