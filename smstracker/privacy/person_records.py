"""What is held of one person: all that has their number, in every table that holds numbers."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, String, and_, cast, func, literal, select
from sqlalchemy.engine import Connection

from smstracker.clock import utcnow
from smstracker.models import (
    Message,
    PendingRemoval,
    RecipientSearch,
    RefusedCallback,
    StatusEvent,
    User,
)
from smstracker.models.messages import reverse_digits
from smstracker.models.tombstones import HashedKind, keyed_hash
from smstracker.privacy.batch_rows import (
    FoundRows,
    count_headings,
    count_unread_files,
    find_rows,
)
from smstracker.privacy.number_text import WrittenNumber
from smstracker.privacy.personal_columns import PERSONAL
from smstracker.privacy.removal import is_over

SCANNED_ROWS = 500


@dataclass(frozen=True, slots=True)
class PersonRecords:
    """The keys of all rows that hold a number, which is E.164."""

    number: str = field(repr=False)
    message_ids: Sequence[int]
    open_message_ids: Sequence[int]  # of those, the ones that cannot be erased yet
    event_count: int
    orphan_ids: Sequence[int]
    refused_ids: Sequence[int]
    search_handles: Sequence[str]
    batch_rows: FoundRows
    heading_count: int
    unread_file_count: int
    is_interrupted: bool = False  # an erasure, which has not come to all rows of batches

    def counts(self) -> dict[str, int]:
        """Count the records of each kind, by the kind's displayed name."""
        return {
            "messages": len(self.message_ids),
            "status events of these messages": self.event_count,
            "callbacks without a message": len(self.orphan_ids),
            "refused callbacks": len(self.refused_ids),
            "searches for the number": len(self.search_handles),
            "rows of batches": len(self.batch_rows.keys),
            "headings of batches": self.heading_count,
            "unread files of batches that may hold it": self.unread_file_count,
        }

    @property
    def is_empty(self) -> bool:
        return not (self.is_interrupted or any(self.counts().values()))


def find_records(connection: Connection, number: str) -> PersonRecords:
    """Find everything that is held of a number in E.164."""
    now = utcnow()
    columns = (Message.id, Message.twilio_sid, is_over(now).label("may_go"))
    query = select(*columns).where(is_recipient(number)).order_by(Message.id)
    messages = connection.execute(query).all()
    ids = [row.id for row in messages]
    sids = {row.twilio_sid for row in messages if row.twilio_sid}
    of_messages = StatusEvent.message_id.in_(select(Message.id).where(is_recipient(number)))
    event_count = connection.scalar(
        select(func.count()).select_from(StatusEvent).where(of_messages)
    )
    return PersonRecords(
        number=number,
        message_ids=ids,
        open_message_ids=[row.id for row in messages if not row.may_go],
        event_count=event_count or 0,
        orphan_ids=_find_orphans(connection, number, sids),
        refused_ids=_find_refused(connection, number, sids),
        search_handles=connection.scalars(
            select(RecipientSearch.handle).where(searches_number(number))
        ).all(),
        batch_rows=find_rows(connection, number),
        heading_count=count_headings(connection, number),
        unread_file_count=count_unread_files(connection),
        is_interrupted=PendingRemoval.has_left_rows(
            connection, keyed_hash(connection, HashedKind.NUMBER, number)
        ),
    )


def is_recipient(number: str) -> ColumnElement[bool]:
    """Whether a message is to the number, by the index of each owner."""
    # A process older than that column, which runs on while others are upgraded, leaves it empty.
    is_near = Message.recipient_reversed.in_([reverse_digits(number), ""])
    return and_(Message.owner_id.in_(select(User.id)), is_near, Message.recipient == number)


def searches_number(number: str) -> ColumnElement[bool]:
    """Whether a search is for the number or its last digits."""
    return literal(number.removeprefix("+")).like("%" + RecipientSearch.digits)


def _find_orphans(connection: Connection, number: str, sids: set[str]) -> list[int]:
    payload = cast(StatusEvent.payload, String).label("text")
    their_sids = select(Message.twilio_sid).where(is_recipient(number))
    may_be_theirs = payload.contains(number.removeprefix("+"))
    may_be_theirs |= StatusEvent.twilio_sid.in_(their_sids)
    query = select(StatusEvent.id, StatusEvent.twilio_sid, payload)
    rows = connection.execute(query.where(StatusEvent.message_id.is_(None), may_be_theirs))
    written = WrittenNumber(number)
    return [row.id for row in rows if row.twilio_sid in sids or written.matches(row.text)]


def _find_refused(connection: Connection, number: str, sids: set[str]) -> list[int]:
    """The refused callbacks with the number anywhere, as it is or percent-encoded."""
    stored = RefusedCallback.__table__.c
    texts = [stored[name] for name in sorted(PERSONAL[RefusedCallback.__tablename__])]
    query = select(stored.id, stored.twilio_sid, *texts).order_by(stored.id)
    rows = connection.execution_options(yield_per=SCANNED_ROWS).execute(query)
    written = WrittenNumber(number)
    return [
        row.id
        for row in rows
        if row.twilio_sid in sids
        or any(
            written.matches_bytes(v if isinstance(v, bytes) else v.encode()) for v in row[2:] if v
        )
    ]
