"""Counters that only grow: what is no longer counted anywhere else, or never was."""

from collections.abc import Mapping

from sqlalchemy import BigInteger, String
from sqlalchemy.engine import Connection
from sqlalchemy.orm import Mapped, mapped_column

from smstracker.database.engine import excluded, upsert
from smstracker.extensions import Model

# How names begin: callbacks of purged tallies by their column, look-ups of workers by result.
CALLBACKS, LOOKUPS = "callback.", "lookup."
LOOKUP_RESULTS = ("changed", "unchanged", "foreign", "failed", "busy")


class MetricTotal(Model):
    """One counter of all processes, for /metrics."""

    __tablename__ = "metric_total"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[int] = mapped_column(BigInteger)

    @classmethod
    def add(cls, connection: Connection, counts: Mapping[str, int]) -> None:
        """Add to counters, in the order of their names: two processes must not deadlock."""
        rows = [{"name": name, "value": value} for name, value in sorted(counts.items()) if value]
        if rows:
            changes = {"value": cls.__table__.c.value + excluded("value")}
            connection.execute(upsert(connection.dialect.name, cls, ("name",), changes), rows)
