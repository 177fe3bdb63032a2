"""The current time in statements that are made once: making one costs more than executing it."""

from datetime import datetime, timedelta

from sqlalchemy import BindParameter, bindparam

from smstracker.database.engine import UtcDateTime


class StatementTime:
    """Stands for the time in the conditions of a statement, such as `clock.has_come`.

    `values` gives the parameters of an execution: the time, and each sum or difference with a span
    of whole seconds.
    """

    def __init__(
        self, offset: timedelta = timedelta(), offsets: dict[str, timedelta] | None = None
    ) -> None:
        self._offset = offset
        self._offsets = {} if offsets is None else offsets

    def __add__(self, span: timedelta) -> "StatementTime":
        return StatementTime(self._offset + span, self._offsets)

    def __sub__(self, span: timedelta) -> "StatementTime":
        return self + -span

    def __clause_element__(self) -> BindParameter[datetime]:
        seconds = self._offset.total_seconds()
        name = f"now_{'less' if seconds < 0 else 'and'}_{abs(seconds):.0f}_seconds"
        self._offsets[name] = self._offset
        return bindparam(name, type_=UtcDateTime())

    def values(self, now: datetime) -> dict[str, datetime]:
        return {name: now + offset for name, offset in self._offsets.items()}
