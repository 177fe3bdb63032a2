"""The open alerts, in the order in which people should see them."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, select

from smstracker.alerts.rules import RULES
from smstracker.models import Alert


def read_open_alerts(connection: Connection, now: datetime) -> Sequence[Alert]:
    """Those of rules of this version: what keeps the service from working first, muted ones last,
    and the newest before others like it.
    """
    is_open = (Alert.opened_at.is_not(None), Alert.ended_at.is_(None), Alert.rule.in_(RULES))
    query = select(Alert.__table__).where(*is_open)
    rows = connection.execute(query.order_by(Alert.opened_at.desc(), Alert.id.desc()))
    alerts = [Alert(**row._mapping) for row in rows]
    return sorted(alerts, key=lambda alert: (alert.is_muted(now), not RULES[alert.rule].is_sick))


def find_heartbeat_hold(alerts: Sequence[Alert], now: datetime) -> Alert | None:
    """The oldest of some open alerts that keeps HEARTBEAT_URL from being fetched: it says that the
    service does not work, and is not muted.
    """
    holds = [alert for alert in alerts if RULES[alert.rule].is_sick and not alert.is_muted(now)]
    return min(holds, key=lambda alert: alert.opened_at or now, default=None)
