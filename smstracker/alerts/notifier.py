"""Sends the planned notices and fetches the heartbeat, in threads of the worker.

A notice is claimed, sent and then recorded as sent. A worker that is killed in between leaves a
lease that ends, so at most one notice is repeated. No transaction is open across the network.
"""

import logging
from collections.abc import Callable
from datetime import timedelta
from functools import partial

from flask import Flask
from sqlalchemy import select

from smstracker.alerts import channels
from smstracker.alerts.channels import ChannelError
from smstracker.alerts.notice import compose
from smstracker.alerts.rules import RULES
from smstracker.clock import utcnow
from smstracker.database.engine import reading_connection
from smstracker.database.problems import log_reason
from smstracker.extensions import db, settings
from smstracker.models import Alert, AlertNotice, ScheduledJob
from smstracker.models.alerts import HEARTBEAT

log = logging.getLogger(__name__)

MAX_NOTICES = 50  # in one run
HEARTBEAT_INTERVAL = timedelta(minutes=1)


def deliveries() -> dict[str, Callable[[Flask], None]]:
    """What to do each minute, by name. Each takes a thread of its own: no channel waits for
    another, and nothing else for one that hangs.
    """
    names = [*channels.configured_channels(), *([HEARTBEAT] if settings().heartbeat_url else [])]
    return {f"notify {name}": partial(deliver, name) for name in names}


def deliver(name: str, app: Flask) -> None:
    """Send the due notices of a channel, or fetch the heartbeat if all is well. Raises nothing."""
    with app.app_context():
        try:
            if name == HEARTBEAT:
                fetch_heartbeat()
                return
            for _ in range(MAX_NOTICES):
                if not _send_next(name):
                    break
        except Exception as error:
            log.warning("alerts_not_sent", extra={"reason": log_reason(error)})
        finally:
            db.session.remove()


def _send_next(channel: str) -> bool:
    """Send one notice that is due; False if there is none."""
    with db.engine.begin() as connection:
        notice = AlertNotice.claim(connection, channel, utcnow())
        if notice is None:
            return False
        alert = Alert.read(connection, notice.alert_id)
    outcome = _attempt(notice, alert) if alert.rule in RULES else {"sent_at": utcnow()}
    with db.engine.begin() as connection:
        AlertNotice.record(connection, notice.id, **outcome)
    return True


def _attempt(notice: AlertNotice, alert: Alert) -> dict[str, object]:
    """Send a notice; the columns that record the outcome."""
    notice_id = f"alert_{notice.id}_{int(notice.created_at.timestamp())}"
    try:
        channels.send(notice.channel, compose(alert, notice.occasion, notice_id))
    except ChannelError as error:
        log.warning("alert_not_sent", extra={"reason": str(error)})
        failures = notice.failures + 1
        due_at = utcnow() + retry_delay(failures)
        return {"failures": failures, "failure": str(error)[:64], "due_at": due_at}
    return {"sent_at": utcnow(), "failure": None}


def retry_delay(failures: int) -> timedelta:
    """The time until the next attempt: doubles with each failure, up to an hour."""
    return timedelta(minutes=min(2 ** (failures - 1), 60))


def fetch_heartbeat() -> None:
    """Fetch HEARTBEAT_URL unless an alert says that the service does not work; store the outcome."""
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
            ScheduledJob.mark_failed(connection, HEARTBEAT, failure)
        else:
            ScheduledJob.mark_done(connection, HEARTBEAT, started_at, HEARTBEAT_INTERVAL)


def is_all_well() -> bool:
    """Whether no alert is open that says so, but those that an administrator has muted."""
    now = utcnow()
    sick = [name for name, rule in RULES.items() if rule.is_sick]
    is_open = (Alert.opened_at.is_not(None), Alert.ended_at.is_(None), Alert.rule.in_(sick))
    audible = select(Alert.id).where(*is_open, Alert.is_audible(now))
    with reading_connection(db.engine) as connection:
        return connection.scalar(audible.limit(1)) is None
