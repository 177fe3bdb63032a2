"""Checks of the ways by which people learn of problems."""

from collections.abc import Iterator
from datetime import datetime

from smstracker.alerts.notice import describe_gone, format_moment
from smstracker.alerts.open_alerts import find_heartbeat_hold, read_open_alerts
from smstracker.alerts.rules import RULES
from smstracker.clock import format_age, utcnow
from smstracker.command_name import COMMAND
from smstracker.database.engine import reading_connection
from smstracker.doctor.check_result import CheckResult, ok, problem, strip_period, warning
from smstracker.extensions import db, settings
from smstracker.models import Alert, ScheduledJob
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


def check_open_alerts() -> Iterator[CheckResult]:
    """Tell of each open alert: a problem if the service does not work, unless it is muted."""
    now = utcnow()
    with reading_connection(db.engine) as connection:
        alerts = read_open_alerts(connection, now)
        evaluated_at = ScheduledJob.last_done_at(connection, JobName.ALERTS)
    if not alerts:
        yield ok("open alerts", "none")
    for alert in alerts:
        yield _check_open_alert(alert, now, evaluated_at)


def _check_open_alert(alert: Alert, now: datetime, evaluated_at: datetime | None) -> CheckResult:
    check, rule = "open alerts", RULES[alert.rule]
    sentence = strip_period(rule.describe(alert.subject, alert.counts))
    since = format_moment(alert.began_at)
    detail = f"{rule.title(alert.subject)}, since {since}: {sentence}"
    if alert.is_muted(now) and alert.muted_until:
        return ok(check, f"muted until {format_moment(alert.muted_until)}: {detail}")
    if alert.is_gone(evaluated_at):
        return warning(check, f"{detail}. {strip_period(describe_gone(alert))}")
    advice = strip_period(rule.full_advice(alert.subject))
    if f"{COMMAND} doctor" in advice:  # this very command
        advice = "see the lines callbacks and connection"
    return (problem if rule.is_sick else warning)(check, detail, advice)


def check_heartbeat() -> Iterator[CheckResult]:
    """Say whether the newest fetch of HEARTBEAT_URL was taken, and what holds the next one back."""
    if not settings().heartbeat_url:
        return
    with reading_connection(db.engine) as connection:
        job = ScheduledJob.read(connection, JobName.HEARTBEAT)
        hold = find_heartbeat_hold(read_open_alerts(connection, utcnow()), utcnow())
    if hold and hold.opened_at:
        reason = f"since {format_moment(hold.opened_at)}, because an alert is open"
        detail = f"HEARTBEAT_URL is not fetched {reason}: {RULES[hold.rule].title(hold.subject)}"
        fix = "end what the line open alerts tells, or mute it on the page /alerts"
        yield warning("heartbeat", detail, fix)
    if job.failed_at:
        detail = f"HEARTBEAT_URL was not taken {format_age(job.failed_at, utcnow())}: {job.failure}"
        fix = f"compare it with the address at the outside service, then {COMMAND} alerts test"
        yield problem("heartbeat", detail, fix)
    elif hold:
        return
    elif job.done_at:
        yield ok("heartbeat", f"HEARTBEAT_URL was taken {format_age(job.done_at, utcnow())}")
    else:
        yield ok("heartbeat", "the worker has not fetched HEARTBEAT_URL yet")
