"""Counting messages for /insights: from the messages themselves, and what is kept of it."""

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any, TypeVar

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    and_,
    case,
    func,
    literal,
    select,
    union_all,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import GenericFunction

from smstracker.extensions import settings
from smstracker.models.display_state import is_silent
from smstracker.models.insight_rollups import HALF_HOUR
from smstracker.models.messages import Message
from smstracker.models.users import User
from smstracker.sms import status
from smstracker.sms.status import Source

# No calling code is longer, and none is the beginning of another.
CALLING_CODE_DIGITS = 3
NEVER = 2**62
FINE_UP_TO = 40  # seconds; above it a bin is at most a twentieth of what it holds
LONG_AGO = datetime.min.replace(tzinfo=UTC)
Range = tuple[datetime, datetime]
Key = TypeVar("Key")
Took = defaultdict[Key, Counter[int]]


class EpochSeconds(GenericFunction[int]):
    """Whole seconds since 1970 of a moment."""

    type = BigInteger()
    inherit_cache = True


@compiles(EpochSeconds, "sqlite")
def _epoch_on_sqlite(element: Any, compiler: Any, **kw: Any) -> str:
    # Without the fraction, of which half a millisecond would be rounded up to the next second.
    seconds = f"substr({compiler.process(element.clauses, **kw)}, 1, 19)"
    return f"CAST(strftime('%s', {seconds}) AS INTEGER)"


@compiles(EpochSeconds, "postgresql")
def _epoch_on_postgresql(element: Any, compiler: Any, **kw: Any) -> str:
    return f"CAST(floor(extract(epoch FROM {compiler.process(element.clauses, **kw)})) AS BIGINT)"


@dataclass(slots=True)
class MessageTotals:
    """The figures of some messages; they can be added up.

    `by_sender` and `by_code` say how many deliveries took how many seconds, for each sender and
    for the first digits of the recipient. `spend` is (micros, messages) of each currency.
    """

    outcomes: Counter[tuple[str, str | None]] = field(default_factory=Counter)
    by_sender: Took[str | None] = field(default_factory=lambda: defaultdict(Counter))
    by_code: Took[str] = field(default_factory=lambda: defaultdict(Counter))
    spend: dict[str | None, tuple[int, int]] = field(default_factory=dict)
    stale_at: int = NEVER

    def add(self, other: "MessageTotals") -> None:
        self.outcomes.update(other.outcomes)
        self.add_sums(other)

    def add_sums(self, other: "MessageTotals") -> None:
        """Add all but the outcomes, which people want to see by the hour or day."""
        for sender, took in other.by_sender.items():
            self.by_sender[sender].update(took)
        for begins, took in other.by_code.items():
            self.by_code[begins].update(took)
        for unit, (micros, count) in other.spend.items():
            self.spend_more(unit, micros, count)

    def spend_more(self, unit: str | None, micros: int, count: int) -> None:
        before = self.spend.get(unit, (0, 0))
        self.spend[unit] = (before[0] + micros, before[1] + count)

    def packed(self) -> dict[str, str]:
        """The columns of a tally."""
        outcomes = [[*key, count] for key, count in self.outcomes.items()]
        spend = [[unit, *sums] for unit, sums in self.spend.items()]
        sums = [_flat(self.by_sender), _flat(self.by_code), spend]
        columns = {"outcomes": outcomes, "sums": sums}
        return {name: json.dumps(one, separators=(",", ":")) for name, one in columns.items()}

    @classmethod
    def unpacked(cls, outcomes: str, sums: str) -> "MessageTotals":
        found = cls(Counter({(state, code): n for state, code, n in json.loads(outcomes)}))
        found.add_packed(sums)
        return found

    def add_packed(self, sums: str) -> None:
        """Add the sums of a tally. A page adds up hundreds, so this is made to be quick."""
        by_sender, by_code, spend = json.loads(sums)
        for sender, *took in by_sender:
            _add_flat(self.by_sender[sender], took)
        for begins, *took in by_code:
            _add_flat(self.by_code[begins], took)
        for unit, micros, count in spend:
            self.spend_more(unit, micros, count)


def _flat(by_key: Took[Any]) -> list[list[Any]]:
    """[key, seconds, count, seconds, count …] of each."""
    return [[key, *chain.from_iterable(took.items())] for key, took in by_key.items()]


def _add_flat(counter: Counter[int], took: list[int]) -> None:
    for seconds, count in zip(took[::2], took[1::2], strict=True):
        counter[seconds] += count


def duration_bin(seconds: int) -> int:
    """The longest time that is counted as the same as this one."""
    step = 1
    while seconds >= FINE_UP_TO * step:
        step *= 2
    return max(seconds, 0) // step * step + step - 1


def count_messages(
    connection: Connection, ranges: Sequence[Range], owner_id: int | None, now: datetime
) -> dict[int, MessageTotals]:
    """The messages made in `ranges`, by half hour; of everyone if there is no owner."""
    return {began: one for (_, began), one in _count(connection, ranges, owner_id, now, False)}


def count_by_owner(
    connection: Connection, ranges: Sequence[Range], now: datetime
) -> dict[tuple[int, int], MessageTotals]:
    """The messages of everyone made in `ranges`, by owner and half hour."""
    return dict(_count(connection, ranges, None, now, True))


def created_within(
    chosen: Select[Any], since: datetime, until: datetime, owner_id: int | None
) -> Any:
    """By the index of each owner: one led by the time would cost every callback."""
    at = (Message.created_at >= since, Message.created_at < until)
    if owner_id is not None:
        return chosen.where(Message.owner_id == owner_id, *at)
    return chosen.select_from(User).join(Message, and_(Message.owner_id == User.id, *at))


def _count(
    connection: Connection,
    ranges: Sequence[Range],
    owner_id: int | None,
    now: datetime,
    apart: bool,
) -> Any:
    found: defaultdict[tuple[int, int], MessageTotals] = defaultdict(MessageTotals)
    if ranges:
        which = _columns(now, apart)
        sums = (
            func.count().label("messages"),
            func.coalesce(func.sum(Message.price_micros), 0).label("micros"),
            func.min(EpochSeconds(Message.status_at)).label("status_at"),
        )
        chosen = select(*which, *sums)
        parts = [created_within(chosen, *one, owner_id).group_by(*which) for one in ranges]
        for row in connection.execute(union_all(*parts)):
            _add_row(found[row[0], row[1]], row, now)
    return found.items()


def _columns(now: datetime, apart: bool) -> tuple[ColumnElement[Any], ...]:
    began = EpochSeconds(Message.created_at)
    # A look-up tells when we asked, and of a message that was read only the reading has its time.
    # A receipt that was the first news does not tell when the message was accepted.
    told = and_(
        Message.status == "delivered",
        Message.status_source == Source.CALLBACK,
        Message.final_at > Message.accepted_at,
    )
    took = EpochSeconds(Message.final_at) - EpochSeconds(Message.accepted_at)
    return (
        (Message.owner_id if apart else literal(0)).label("of_owner"),
        (began - began % HALF_HOUR).label("span"),
        Message.status.label("word"),
        case((is_silent(now), 1), else_=0).label("silent"),
        Message.error_code.label("code"),
        Message.price_unit.label("unit"),
        case((told, Message.sender)).label("told_sender"),
        case((told, func.substr(Message.recipient, 2, CALLING_CODE_DIGITS))).label("begins"),
        case((told, took)).label("took"),
    )


def _add_row(counts: MessageTotals, row: Any, now: datetime) -> None:
    _, _, word, silent, code, unit, sender, begins, took, count, micros, status_at = row
    window = timedelta(hours=settings().receipt_window_hours)
    since = LONG_AGO if silent else now
    state = status.display_status(word, since, now=now, receipt_window=window).state
    counts.outcomes[state, code] += count
    counts.spend_more(unit, int(micros), count)
    if took is not None:
        counts.by_sender[sender][duration_bin(took)] += count
        counts.by_code[begins][duration_bin(took)] += count
    if not silent and (word == "pending" or word in status.AWAITING_RECEIPT):
        patience = status.PENDING_IS_UNKNOWN_AFTER if word == "pending" else window
        counts.stale_at = min(counts.stale_at, status_at + int(patience.total_seconds()))


def moment(epoch: int) -> datetime:
    return datetime.fromtimestamp(epoch, UTC)
