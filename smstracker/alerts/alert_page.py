"""What the page of alerts shows, and the number of open ones for the navigation."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from flask import Flask
from sqlalchemy import case, func, select

from smstracker.alerts.channels import configured_channels
from smstracker.alerts.notice import Notice, combine, compose
from smstracker.alerts.open_alerts import find_heartbeat_hold, read_open_alerts
from smstracker.alerts.rules import RULES
from smstracker.clock import is_within
from smstracker.extensions import db, settings
from smstracker.models import Alert, AlertNotice, ScheduledJob
from smstracker.models.alerts import ALERT_RETENTION, WEBHOOK
from smstracker.models.jobs import JobName

MAX_PAST = 100
MAX_SENT_NOTICES = 10
MAX_AGE = timedelta(minutes=5)  # of an evaluation


@dataclass(frozen=True, slots=True)
class ChannelStatus:
    """A channel: its last notice that was sent, and why one that waits could not be.

    Of the heartbeat: when it was taken last, and why the newest one was not.
    """

    channel: str
    last_sent_at: datetime | None
    failure: str | None


@dataclass(frozen=True, slots=True)
class AlertPage:
    """Open alerts, what keeps the service from working first and muted ones last; past ones of
    ALERT_RETENTION, newest first; and where alerts go.

    `heartbeat` is None without HEARTBEAT_URL, and `hold` the open alert that keeps it from being
    fetched. `evaluated_at` is when a worker last looked.
    """

    open: Sequence[Alert]
    past: Sequence[Alert]
    channels: Sequence[ChannelStatus]
    heartbeat: ChannelStatus | None
    hold: Alert | None
    evaluated_at: datetime | None

    def is_current(self, now: datetime) -> bool:
        return self.evaluated_at is not None and is_within(self.evaluated_at, now, MAX_AGE)


def init_app(app: Flask) -> None:
    app.jinja_env.globals["count_open_alerts"] = count_open


def count_open() -> int:
    """The number of open alerts, muted ones included."""
    return sum(Alert.count_open(db.session.connection()).values())


def read_alert_page(now: datetime) -> AlertPage:
    is_shown = (Alert.opened_at.is_not(None), Alert.rule.in_(RULES))  # of this version
    past = select(Alert).where(*is_shown, Alert.ended_at > now - ALERT_RETENTION)
    past = past.order_by(Alert.opened_at.desc(), Alert.id.desc()).limit(MAX_PAST)
    open_alerts = read_open_alerts(db.session.connection(), now)
    return AlertPage(
        open=open_alerts,
        past=db.session.scalars(past).all(),
        channels=read_channels(),
        heartbeat=read_heartbeat() if settings().heartbeat_url else None,
        hold=find_heartbeat_hold(open_alerts, now),
        evaluated_at=ScheduledJob.last_done_at(db.session.connection(), JobName.ALERTS),
    )


def read_channels() -> list[ChannelStatus]:
    """The channels that are set, each with what became of its notices."""
    waiting_failure = case((AlertNotice.sent_at.is_(None), AlertNotice.failure))
    query = select(
        AlertNotice.channel, func.max(AlertNotice.sent_at), func.max(waiting_failure)
    ).group_by(AlertNotice.channel)
    notices = {
        channel: (sent_at, failure) for channel, sent_at, failure in db.session.execute(query)
    }
    return [
        ChannelStatus(channel, *notices.get(channel, (None, None)))
        for channel in configured_channels()
    ]


def read_heartbeat() -> ChannelStatus:
    job = ScheduledJob.read(db.session.connection(), JobName.HEARTBEAT)
    return ChannelStatus(JobName.HEARTBEAT, job.done_at, job.failure)


def read_sent_mails() -> list[tuple[str, str, str]]:
    """The newest mails as (address, subject, text), newest first: the worker has sent them."""
    query = select(AlertNotice, Alert).join(Alert, Alert.id == AlertNotice.alert_id)
    is_sent = (AlertNotice.channel != WEBHOOK, AlertNotice.sent_at.is_not(None))
    order = (AlertNotice.sent_at.desc(), AlertNotice.channel, AlertNotice.id)
    query = query.where(*is_sent, Alert.rule.in_(RULES)).order_by(*order).limit(MAX_SENT_NOTICES)
    mails: dict[tuple[str, datetime | None], list[Notice]] = {}
    for sent, alert in db.session.execute(query):
        notice = compose(alert, sent.occasion, str(sent.id))
        mails.setdefault((sent.channel, sent.sent_at), []).append(notice)
    combined = ((address, combine(notices)) for (address, _at), notices in mails.items())
    return [(address, notice.subject, notice.text) for address, notice in combined]


def mute(alert_id: int, hours: int, now: datetime) -> Alert | None:
    """Mute an open alert; with 0 hours, end that. The alert, or None if none is open."""
    alert = db.session.get(Alert, alert_id, with_for_update=True)
    if alert is None or alert.opened_at is None or alert.ended_at is not None:
        return None
    alert.muted_until = now + timedelta(hours=hours) if hours else None
    return alert
