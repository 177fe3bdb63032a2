"""Which spans of time are counted ahead for /insights, and how far the news has been followed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    case,
    delete,
    func,
    insert,
    select,
    update,
)

from smstracker.database.engine import affected_rows
from smstracker.database.engine import dialect_insert as insert_unless
from smstracker.extensions import settings
from smstracker.models.events import StatusEvent
from smstracker.models.insight_rollups import (
    DAY,
    EVERYONE,
    HALF_HOUR,
    InsightBucket,
    InsightChange,
    InsightCursor,
    InsightTally,
)
from smstracker.models.message_totals import NEVER, EpochSeconds, MessageTotals, Range
from smstracker.models.messages import Message
from smstracker.models.users import User

NAME = "insights"
# Longer than the database lets a transaction of ours last.
SETTLED_AFTER = 30  # seconds
# By how much the clock of a machine may be ahead of another's.
CLOCKS_DIFFER = 60  # seconds
FOLLOWED_AT_ONCE = 5_000
Cursor = Row[Any]
Ahead = dict[str, int | None]
_ROW = InsightCursor.__table__
_MARK = InsightBucket.__table__.c


@dataclass(slots=True)
class CountedBucket:
    """What was counted of one span, by owner."""

    began: int
    width: int
    stale_at: int | None = None
    by_owner: dict[int, MessageTotals] = field(default_factory=dict)

    def put(self, owner_id: int, counts: MessageTotals) -> None:
        """Add to those of an owner."""
        mine = self.by_owner.setdefault(owner_id, MessageTotals())
        mine.add(counts)
        mine.stale_at = min(mine.stale_at, counts.stale_at)

    @property
    def day(self) -> int:
        return self.began - self.began % DAY


def cursor(connection: Connection) -> Cursor | None:
    return connection.execute(select(*_ROW.c)).one_or_none()


def events_ahead(connection: Connection, at: Cursor | None, now: datetime) -> Ahead | None:
    """Where the cursor is to stand next; None if it has to wait, or there is nothing new."""
    newest = connection.execute(
        select(
            select(func.coalesce(func.max(StatusEvent.id), 0)).scalar_subquery(),
            select(func.coalesce(func.max(InsightChange.id), 0)).scalar_subquery(),
        )
    ).one()
    look: Ahead = {"seen_event_id": newest[0], "seen_change_id": newest[1]}
    look["seen_at"] = int(now.timestamp())
    if at is None:
        return look
    if abs(now.timestamp() - at.seen_at) < SETTLED_AFTER:
        return None
    if at.event_id is None:
        # Nothing is counted yet that the news before could change.
        return {"event_id": at.seen_event_id, "change_id": at.seen_change_id}
    if (at.event_id, at.change_id) == (at.seen_event_id, at.seen_change_id):
        is_new = newest[0] > at.event_id or newest[1] > at.change_id
        # The table of changes is emptied, but their numbers go on.
        look["seen_change_id"] = max(newest[1], at.change_id)
        return look if is_new else None
    return {
        "event_id": min(at.seen_event_id, at.event_id + FOLLOWED_AT_ONCE),
        "change_id": min(at.seen_change_id, at.change_id + FOLLOWED_AT_ONCE),
    }


def followed(at: Cursor | None, ahead: Ahead) -> int:
    """How many numbers the cursor went on."""
    if at is None or at.event_id is None or ahead.get("event_id") is None:
        return 0
    before: int = at.event_id + at.change_id
    return (ahead["event_id"] or 0) + (ahead["change_id"] or 0) - before


def begin(connection: Connection, ahead: Ahead) -> None:
    """Put the cursor where nothing is followed yet."""
    row = insert_unless(connection.engine, InsightCursor)
    row = row.values(name=NAME, version=0, event_id=None, change_id=0, **ahead)
    connection.execute(row.on_conflict_do_nothing())


def advance(connection: Connection, at: Cursor, ahead: Ahead | None = None) -> bool:
    """Whether nobody wrote since `at` was read; nobody can then until the transaction ends."""
    mine = update(InsightCursor).where(InsightCursor.version == at.version)
    return (
        affected_rows(connection.execute(mine.values(version=at.version + 1, **(ahead or {})))) == 1
    )


def touched(connection: Connection, at: Cursor, ahead: Ahead) -> set[int]:
    """The half hours of the messages about which there was news up to there."""
    if at.event_id is None or "event_id" not in ahead:
        return set()
    events = select(StatusEvent.message_id).where(
        StatusEvent.id > at.event_id, StatusEvent.id <= ahead["event_id"]
    )
    changes = select(InsightChange.message_id).where(
        InsightChange.id > at.change_id, InsightChange.id <= ahead["change_id"]
    )
    return _buckets_of_messages(connection, events.union_all(changes))


def touched_messages(connection: Connection, at: Cursor) -> set[int] | None:
    """The half hours with news that was not followed yet; None if it is too much of it."""
    is_known = StatusEvent.message_id.is_not(None)
    events = select(StatusEvent.message_id).where(StatusEvent.id > at.event_id, is_known)
    changes = select(InsightChange.message_id).where(InsightChange.id > at.change_id)
    limited = [
        select(one.order_by(key).limit(FOLLOWED_AT_ONCE + 1).subquery().c.message_id)
        for one, key in ((events, StatusEvent.id), (changes, InsightChange.id))
    ]
    news = limited[0].union_all(limited[1]).subquery()
    began = _half_hour()
    found = select(began, func.count().label("news")).select_from(news)
    found = found.join(Message, Message.id == news.c.message_id).group_by(began)
    by_span = {one.span: one.news for one in connection.execute(found)}
    return None if sum(by_span.values()) > FOLLOWED_AT_ONCE else set(by_span)


def _half_hour() -> Any:
    made = EpochSeconds(Message.created_at)
    return (made - made % HALF_HOUR).label("span")


def _buckets_of_messages(connection: Connection, message_ids: Any) -> set[int]:
    news = message_ids.subquery()
    found = select(_half_hour()).select_from(news)
    found = found.join(Message, Message.id == news.c.message_id).distinct()
    return set(connection.scalars(found))


def news_began(connection: Connection, at: Cursor) -> datetime | None:
    """When the first news that was not followed yet came; None if there is none.

    Of a price alone it is not kept when it came.
    """
    came = func.coalesce(StatusEvent.replayed_at, StatusEvent.received_at)
    first = select(came).where(StatusEvent.id > at.event_id, StatusEvent.message_id.is_not(None))
    found: datetime | None = connection.scalar(first.order_by(StatusEvent.id).limit(1))
    return found


def outdate(
    connection: Connection, half_hours: Iterable[int], ahead: Ahead, came: datetime
) -> None:
    """Count these again; changes that were followed are not needed any more.

    Until then what was counted is still that of the moment at which the news came.
    """
    if "change_id" in ahead:
        connection.execute(delete(InsightChange).where(InsightChange.id <= ahead["change_id"]))
    keys = [(HALF_HOUR, one - one % DAY, one) for one in half_hours]
    for day in sorted({day for _, day, _ in keys}):
        connection.execute(delete(InsightBucket).where(*_is(InsightBucket, (DAY, day, day))))
    stale, at = InsightBucket.stale_at, int(came.timestamp())
    earlier = case((stale < 0, stale), (stale < at, -stale), else_=-at)
    for key in sorted(keys):
        mark = update(InsightBucket).where(*_is(InsightBucket, key))
        connection.execute(mark.values(stale_at=earlier))


def _is(table: Any, key: tuple[int, int, int]) -> tuple[ColumnElement[bool], ...]:
    width, day, began = key
    return table.width == width, table.day == day, table.began == began


def first_made(connection: Connection, owner_id: int | None) -> datetime | None:
    """When the first message was made, of everyone if there is no owner."""
    found: datetime | None = connection.scalar(first_made_query(owner_id))
    return found


def first_made_query(owner_id: int | None) -> Select[Any]:
    """By the index of each owner."""
    first = select(Message.created_at).order_by(Message.created_at, Message.id).limit(1)
    if owner_id is not None:
        return first.where(Message.owner_id == owner_id)
    of_one = first.where(Message.owner_id == User.id).correlate(User).scalar_subquery()
    # Named here too, or the subquery would go through the messages of all owners in one.
    each = select(of_one.label("at")).select_from(User).subquery()
    return select(func.min(each.c.at))


def is_true(span: Any, now: datetime) -> bool:
    """Whether what was counted was so at some time: with this receipt window, and not with a clock
    that was put back since.
    """
    is_same: bool = span.window_hours == settings().receipt_window_hours
    return is_same and bool(span.made_at <= now.timestamp() + CLOCKS_DIFFER)


def is_good(span: Any, now: datetime) -> bool:
    """Whether what was counted is so now: there was no news, nor has silence changed it."""
    return is_true(span, now) and bool(span.stale_at >= now.timestamp())


def uncounted(connection: Connection, now: datetime, until: datetime) -> list[int]:
    """The half hours up to then that are to be counted, the newest first."""
    first = first_made(connection, None)
    if first is None:
        return []
    begins = int(first.timestamp()) // HALF_HOUR * HALF_HOUR
    ends = int(until.timestamp()) // HALF_HOUR * HALF_HOUR
    # What `is_good` says, asked here of every half hour that there is.
    marks = select(InsightBucket.began).where(
        InsightBucket.width == HALF_HOUR,
        InsightBucket.stale_at >= now.timestamp(),
        InsightBucket.made_at <= now.timestamp() + CLOCKS_DIFFER,
        InsightBucket.window_hours == settings().receipt_window_hours,
    )
    good = set(connection.scalars(marks))
    return [one for one in range(ends - HALF_HOUR, begins - 1, -HALF_HOUR) if one not in good]


def days_to_add_up(connection: Connection, now: datetime) -> list[tuple[int, int]]:
    """The days all of whose half hours are counted, and when the first of these is stale."""
    done: set[int] = set()
    halves: dict[int, list[int]] = {}
    for one in connection.execute(select(*_MARK)):
        if is_good(one, now):
            if one.width == DAY:
                done.add(one.day)
            else:
                halves.setdefault(one.day, []).append(one.stale_at)
    full = {day: min(at) for day, at in halves.items() if len(at) == DAY // HALF_HOUR}
    return sorted(((day, at) for day, at in full.items() if day not in done), reverse=True)


def day_rollups(connection: Connection, day: int) -> list[tuple[int, MessageTotals]]:
    """What was counted of the half hours of a day; everyone's is made of it again."""
    which = select(InsightTally.owner_id, InsightTally.outcomes, InsightTally.sums).where(
        InsightTally.width == HALF_HOUR, InsightTally.day == day, InsightTally.owner_id != EVERYONE
    )
    return [
        (owner_id, MessageTotals.unpacked(*packed))
        for owner_id, *packed in connection.execute(which)
    ]


def keep(connection: Connection, made: Sequence[CountedBucket], now: datetime) -> None:
    """Put what was counted in the place of what was known of these spans."""
    keys = [(one.width, one.day, one.began) for one in made]
    days = [(DAY, one.day, one.day) for one in made if one.width == HALF_HOUR]
    for key in sorted({*keys, *days}):
        connection.execute(delete(InsightBucket).where(*_is(InsightBucket, key)))
    for key in keys:
        connection.execute(delete(InsightTally).where(*_is(InsightTally, key)))
    connection.execute(insert(InsightBucket), [_span_row(one, now) for one in made])
    if tallies := [row for one in made for row in _tally_rows(one)]:
        connection.execute(insert(InsightTally), tallies)


def _span_row(made: CountedBucket, now: datetime) -> dict[str, int]:
    stale = [counts.stale_at for counts in made.by_owner.values()]
    return {
        **_key(made),
        "stale_at": min(stale, default=NEVER) if made.stale_at is None else made.stale_at,
        "window_hours": settings().receipt_window_hours,
        "made_at": int(now.timestamp()),
    }


def _tally_rows(made: CountedBucket) -> list[dict[str, Any]]:
    everyone = MessageTotals()
    for counts in made.by_owner.values():
        everyone.add(counts)
    all_of = {**made.by_owner, EVERYONE: everyone} if made.by_owner else {}
    return [{**_key(made), "owner_id": of, **one.packed()} for of, one in all_of.items()]


def _key(made: CountedBucket) -> dict[str, int]:
    return {"width": made.width, "day": made.day, "began": made.began}


def merged(ranges: Iterable[Range]) -> list[Range]:
    """The same ranges in order, those that touch as one."""
    joined: list[Range] = []
    for since, until in sorted(ranges):
        if joined and since <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], until))
        elif since < until:
            joined.append((since, until))
    return joined
