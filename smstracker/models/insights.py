"""What became of the messages of a range of time, counted. Reads only, never a number or a text."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, Select, and_, case, func, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import ColumnElement
from sqlalchemy.sql.functions import GenericFunction

from smstracker import status
from smstracker.clock import utcnow
from smstracker.extensions import db, settings
from smstracker.models.messages import Message
from smstracker.models.states import is_silent
from smstracker.period import Period
from smstracker.status import Source, State

# Half hours, because the days and hours of most zones begin on one.
SPAN = timedelta(minutes=30)
# No calling code is longer, and none is the beginning of another.
CALLING_CODE_DIGITS = 3


class EpochSeconds(GenericFunction[int]):
    """Whole seconds since 1970 of a moment."""

    type = BigInteger()
    inherit_cache = True


@compiles(EpochSeconds, "sqlite")
def _epoch_on_sqlite(element: Any, compiler: Any, **kw: Any) -> str:
    return f"CAST(strftime('%s', {compiler.process(element.clauses, **kw)}) AS INTEGER)"


@compiles(EpochSeconds, "postgresql")
def _epoch_on_postgresql(element: Any, compiler: Any, **kw: Any) -> str:
    return f"CAST(floor(extract(epoch FROM {compiler.process(element.clauses, **kw)})) AS BIGINT)"


@dataclass(frozen=True, slots=True)
class Outcomes:
    """`count` messages of the half hour that began at `began_at` are in `state`."""

    began_at: datetime
    state: State
    error_code: str | None
    count: int


@dataclass(frozen=True, slots=True)
class Delivery:
    """`count` messages arrived `seconds` after Twilio took them."""

    sender: str | None
    number_begins: str
    seconds: int
    count: int


@dataclass(frozen=True, slots=True)
class Spend:
    """What is known of the costs in one currency; `unit` is None where no price is known."""

    unit: str | None
    micros: int
    count: int


def outcomes(owner_id: int | None, period: Period) -> list[Outcomes]:
    """Of one owner, or of everyone if that is None."""
    now = utcnow()
    began = EpochSeconds(Message.created_at)
    span = (began - began % int(SPAN.total_seconds())).label("span")
    silent = case((is_silent(now), 1), else_=0).label("silent")
    which = (span, Message.status, silent, Message.error_code)
    found = _within(select(*which, func.count()), owner_id, period).group_by(*which)
    window = timedelta(hours=settings().receipt_window_hours)
    long_ago = datetime.min.replace(tzinfo=UTC)
    return [
        Outcomes(
            datetime.fromtimestamp(int(at), UTC),
            status.shown(word, long_ago if quiet else now, now=now, receipt_window=window).state,
            code,
            count,
        )
        for at, word, quiet, code, count in db.session.execute(found)
    ]


def deliveries(owner_id: int | None, period: Period) -> list[Delivery]:
    """How long deliveries took, where a callback told.

    A look-up tells when we asked, and of a message that was read only the reading has its time.
    """
    took = (EpochSeconds(Message.final_at) - EpochSeconds(Message.accepted_at)).label("took")
    begins = func.substr(Message.recipient, 2, CALLING_CODE_DIGITS).label("begins")
    told = and_(
        Message.status == "delivered",
        Message.status_source == Source.CALLBACK,
        Message.accepted_at.is_not(None),
        Message.final_at.is_not(None),
    )
    which = (Message.sender, begins, took)
    found = _within(select(*which, func.count()), owner_id, period).where(told).group_by(*which)
    return [Delivery(*row) for row in db.session.execute(found)]


def spend(owner_id: int | None, period: Period) -> list[Spend]:
    """By currency; the messages without a known price are counted under None."""
    sums = select(
        Message.price_unit,
        func.coalesce(func.sum(Message.price_micros), 0),
        func.count(),
    )
    found = _within(sums, owner_id, period).group_by(Message.price_unit)
    return [Spend(unit, int(micros), count) for unit, micros, count in db.session.execute(found)]


def _within(chosen: Select[Any], owner_id: int | None, period: Period) -> Select[Any]:
    bounds: list[ColumnElement[bool]] = []
    if owner_id is not None:
        bounds.append(Message.owner_id == owner_id)
    if period.since is not None:
        bounds.append(Message.created_at >= period.since)
    if period.until is not None:
        bounds.append(Message.created_at < period.until)
    return chosen.where(*bounds)
