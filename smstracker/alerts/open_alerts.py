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
