"""How far each batch of a list is, by one statement for all of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Select, func, select

from smstracker.extensions import db
from smstracker.models.batches import Batch
from smstracker.models.messages import Message
from smstracker.sms.status import NEGATIVE, NOT_SENT, OUTBOX

# Of all batches of a page, so that it is fast: 0.1 s at most on a small machine. The page of a
# batch beyond that counts for itself.
MAX_COUNTED = 200_000
_NOT_HANDED_OVER = (OUTBOX, "canceled", *NOT_SENT)
_FAILED = (*NEGATIVE, *NOT_SENT)


@dataclass(slots=True)
class BatchCounts:
    """How many messages of a batch went to Twilio, and how many failed, there or before."""

    handed_over: int = 0
    failed: int = 0


def count_batches(batches: Sequence[Batch]) -> dict[int, BatchCounts]:
    """Return the counts by batch of one owner: of the first ones, up to MAX_COUNTED messages."""
    counts = {batch.id: BatchCounts() for batch in _select_counted(batches)}
    if not counts:
        return counts
    query = select_status_counts(batches[0].owner_id, counts)
    for batch_id, status, count in db.session.execute(query):
        if status not in _NOT_HANDED_OVER:
            counts[batch_id].handed_over += count
        if status in _FAILED:
            counts[batch_id].failed += count
    return counts


def _select_counted(batches: Iterable[Batch]) -> Iterable[Batch]:
    total = 0
    for batch in batches:
        if batch.is_started:
            total += batch.queued_count
            if total > MAX_COUNTED:
                return
            yield batch


def select_status_counts(
    owner_id: int, batch_ids: Iterable[int]
) -> Select[tuple[int | None, str, int]]:
    """Select how many messages of each batch have each status, by the index of the counts."""
    columns = (Message.batch_id, Message.status)
    is_its_message = (Message.owner_id == owner_id, Message.batch_id.in_(list(batch_ids)))
    return select(*columns, func.count()).where(*is_its_message).group_by(*columns)
