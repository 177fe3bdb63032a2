"""Sends the planned notices and fetches the heartbeat, in threads of the worker.

A notice is claimed, sent and then recorded as sent. A worker that is killed in between leaves a
lease that ends, so at most one notice is repeated. No transaction is open across the network.
"""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial

from flask import Flask

from smstracker.alerts import channels
from smstracker.alerts.channels import ChannelError
from smstracker.alerts.notice import Notice, combine, compose
from smstracker.alerts.open_alerts import find_heartbeat_hold, read_open_alerts
from smstracker.alerts.rules import RULES
from smstracker.clock import utcnow
from smstracker.database.engine import reading_connection
from smstracker.database.problems import log_reason
from smstracker.extensions import db, settings
from smstracker.models import Alert, AlertNotice, ScheduledJob
from smstracker.models.alerts import MAX_RETRY_DELAY, WEBHOOK
from smstracker.models.jobs import JobName

log = logging.getLogger(__name__)

MAX_NOTICES = 50  # in one run
HEARTBEAT_INTERVAL = timedelta(minutes=1)


def deliveries() -> dict[str, Callable[[Flask], None]]:
    """What to do each minute, by name. Each takes a thread of its own: no channel waits for
    another, and nothing else for one that hangs.
    """
    names = [
        *channels.configured_channels(),
        *([JobName.HEARTBEAT] if settings().heartbeat_url else []),
    ]
    return {f"notify {name}": partial(deliver, name) for name in names}


def deliver(name: str, app: Flask) -> None:
    """Send the due notices of a channel, or fetch the heartbeat if all is well. Raises nothing."""
    with app.app_context():
        try:
            if name == JobName.HEARTBEAT:
                fetch_heartbeat_if_well()
                return
            for _ in range(MAX_NOTICES):
                if not _send_next(name):
                    break
        except Exception as error:
            log.warning("alerts_not_sent", extra={"reason": log_reason(error)})
        finally:
            db.session.remove()


def _send_next(channel: str) -> bool:
    """Send what is due, by mail all in one; False if nothing is."""
    limit = 1 if channel == WEBHOOK else MAX_NOTICES
    with db.engine.begin() as connection:
        claimed = AlertNotice.claim(connection, channel, utcnow(), limit)
        alerts = [Alert.read(connection, notice.alert_id) for notice in claimed]
    if not claimed:
        return False
    notices = [
        compose(alert, notice.occasion, _notice_id(notice))
        for notice, alert in zip(claimed, alerts, strict=True)
        if alert.rule in RULES
    ]
    failure = _attempt(channel, notices) if notices else None
    now = utcnow()
    with db.engine.begin() as connection:
        for notice in claimed:
            AlertNotice.record(connection, notice.id, **_outcome(notice, failure, now))
    return True


def _notice_id(notice: AlertNotice) -> str:
    return f"alert_{notice.id}_{int(notice.created_at.timestamp())}"


def _attempt(channel: str, notices: Sequence[Notice]) -> str | None:
    """Send notices; why they were not taken, or None."""
    try:
        channels.send(channel, combine(notices))
    except ChannelError as error:
        log.warning("alert_not_sent", extra={"reason": str(error)})
        return str(error)[:64]
    return None


def _outcome(notice: AlertNotice, failure: str | None, now: datetime) -> dict[str, object]:
    """The columns that record an attempt."""
    if failure is None:
        return {"sent_at": now, "failure": None}
    failures = notice.failures + 1
    return {"failures": failures, "failure": failure, "due_at": now + retry_delay(failures)}


def retry_delay(failures: int) -> timedelta:
    """The time until the next attempt: doubles with each failure, up to MAX_RETRY_DELAY."""
    longest = MAX_RETRY_DELAY // timedelta(minutes=1)
    return timedelta(minutes=min(2 ** (failures - 1), longest))


def fetch_heartbeat_if_well() -> None:
    """Fetch HEARTBEAT_URL unless an alert says that the service is sick; store the outcome."""
    if not is_all_well():
        return
    failure, started_at = None, utcnow()
    try:
        channels.fetch_heartbeat()
    except ChannelError as error:
        failure = str(error)
        log.warning("heartbeat_not_fetched", extra={"reason": failure})
    with db.engine.begin() as connection:
        if failure:
            ScheduledJob.mark_failed(connection, JobName.HEARTBEAT, failure)
        else:
            ScheduledJob.mark_done(connection, JobName.HEARTBEAT, started_at, HEARTBEAT_INTERVAL)


def is_all_well() -> bool:
    """Whether no open alert says that the service does not work, but muted ones."""
    now = utcnow()
    with reading_connection(db.engine) as connection:
        return find_heartbeat_hold(read_open_alerts(connection, now), now) is None
