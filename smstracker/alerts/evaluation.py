"""The job that opens and ends alerts, once a minute. It plans the notices; another thread sends.

It reads first, without a lock, and writes in one short transaction only while there is something
to write. Everything follows from what is stored, so it does not matter which worker runs it.
"""

import logging
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime

from sqlalchemy import Connection, func, select

from smstracker.alerts.channels import configured_channels
from smstracker.alerts.finding import Finding
from smstracker.alerts.rule_checks import check_rules
from smstracker.alerts.rules import QUIET_TIME, RULES
from smstracker.clock import DAY, is_ahead, is_within, utcnow
from smstracker.database.engine import reading_connection
from smstracker.extensions import db
from smstracker.health_facts import count_unknown
from smstracker.models import Alert, AlertNotice, Message
from smstracker.models.alerts import BEGIN, END, LATE_NOTICE, RuleName
from smstracker.sms.status import Source

log = logging.getLogger(__name__)

MAX_FETCHED = 10_000  # a count of messages ends here


def evaluate(last_evaluated: datetime | None) -> Iterator[int]:
    """Evaluate all rules; yields the number of findings."""
    now = utcnow()
    with reading_connection(db.engine) as connection:
        findings = check_rules(connection, now, last_evaluated)
        is_true = any(finding.opens for finding in findings)
        is_quiet = not is_true and not Alert.is_any_recent(connection, now)
    if not is_quiet:
        with db.engine.begin() as connection:
            update_alerts(connection, findings, now)
            plan_notices(connection, configured_channels(), now)
    yield len(findings)


def update_alerts(connection: Connection, findings: Sequence[Finding], now: datetime) -> None:
    """Begin, continue, open and end alerts."""
    alerts = Alert.unended(connection)
    is_open = {key for key, alert in alerts.items() if alert.opened_at}
    by_key: dict[tuple[str, str], Finding] = {
        (finding.rule, finding.subject): finding for finding in findings
    }
    true = {key: finding for key, finding in by_key.items() if finding.opens or key in is_open}
    for key in true.keys() - alerts.keys():
        began_at = min(true[key].began_at or now, now)
        Alert.begin(connection, *key, {"began_at": began_at, "last_true_at": now})
    if true.keys() - alerts.keys():
        alerts = Alert.unended(connection)
    for key, finding in true.items():
        _continue(connection, alerts[key], finding, now)
    for key in alerts.keys() - true.keys():
        _end_if_quiet(connection, alerts[key], now)


def _continue(connection: Connection, alert: Alert, finding: Finding, now: datetime) -> None:
    columns: dict[str, object] = {"last_true_at": now, "counts": dict(finding.counts)}
    times = {"began_at": alert.began_at, "opened_at": alert.opened_at}
    columns |= {name: now for name, at in times.items() if at is not None and is_ahead(at, now)}
    if alert.opened_at is None and now - alert.began_at >= RULES[finding.rule].holds:
        columns["opened_at"] = now
        log.warning("alert_opened", extra={"reason": finding.rule})
    Alert.change(connection, alert.id, **columns)


def _end_if_quiet(connection: Connection, alert: Alert, now: datetime) -> None:
    """End an alert that has been false for long enough; forget one that never opened."""
    if alert.opened_at is None:
        Alert.drop_watched(connection, alert.id)
    elif not is_within(alert.last_true_at, now, QUIET_TIME) or alert.rule not in RULES:
        counts = {**alert.counts, "fetched": _count_fetched(connection, alert.began_at, now)}
        if alert.rule == RuleName.OUTCOME_UNKNOWN:
            counts["unknown"] = count_unknown(connection, now)
        Alert.change(connection, alert.id, ended_at=now, counts=counts)
        log.info("alert_ended", extra={"reason": alert.rule})


def _count_fetched(connection: Connection, since: datetime, until: datetime) -> int:
    """Count the messages whose outcome a look-up has fetched; at most MAX_FETCHED."""
    is_fetched = (Message.final_at.between(since, until), Message.status_source == Source.LOOKUP)
    fetched = select(Message.final_at).where(*is_fetched).limit(MAX_FETCHED).subquery()
    return connection.scalar(select(func.count()).select_from(fetched)) or 0


def plan_notices(connection: Connection, channels: Collection[str], now: datetime) -> None:
    """Save each notice that is due and not saved yet; none of a muted alert."""
    is_recent = Alert.ended_at.is_(None) | is_within(Alert.ended_at, now, LATE_NOTICE)
    query = select(Alert.id, Alert.ended_at).where(
        Alert.opened_at.is_not(None), is_recent, Alert.is_audible(now)
    )
    for alert_id, ended_at in connection.execute(query).all():
        for channel in channels:
            notices = _read_notices(connection, alert_id, channel)
            if occasion := next_occasion(notices, now, is_ended=ended_at is not None):
                AlertNotice.plan(connection, alert_id, channel, occasion, now)


def _read_notices(
    connection: Connection, alert_id: int, channel: str
) -> Sequence[tuple[str, datetime]]:
    query = select(AlertNotice.occasion, AlertNotice.created_at).order_by(AlertNotice.id)
    of_alert = (AlertNotice.alert_id == alert_id, AlertNotice.channel == channel)
    return [(row.occasion, row.created_at) for row in connection.execute(query.where(*of_alert))]


def next_occasion(
    notices: Sequence[tuple[str, datetime]], now: datetime, *, is_ended: bool
) -> str | None:
    """What to tell next, after `notices` of one alert by one channel: (occasion, created_at)."""
    if not notices:
        return None if is_ended else BEGIN
    newest, created_at = notices[-1]
    if newest == END:
        return None
    if is_ended:
        return END
    if is_within(created_at, now, DAY):
        return None
    return f"day {int(newest.removeprefix('day ')) + 1 if newest != BEGIN else 1}"
