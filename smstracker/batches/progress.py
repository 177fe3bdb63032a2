"""How far a batch is: its messages by state and reason, and when it ends at the present pace."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Select, func, select

from smstracker.extensions import db, receipt_window
from smstracker.messages.describe import NOT_SENT_REASONS, short_code_reason
from smstracker.messages.send_pauses import Pause, find_pauses
from smstracker.models.batches import Batch, BatchState
from smstracker.models.display_state import is_silent
from smstracker.models.messages import Message
from smstracker.sms import status
from smstracker.sms.status import STATE_OF_SILENT, State

PACE_PERIOD = timedelta(minutes=2)
PACE_SAMPLE = 2_000  # newest messages: those that wait, and as many before
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class FailureCount:
    """How many messages failed for a reason; `code` is None for one without a code."""

    reason: str
    code: str | None
    count: int


@dataclass(frozen=True, slots=True)
class BatchProgress:
    """`waiting_here` are not handed over yet; `not_sent` never will be, because the rest was
    stopped, or a message cancelled: of these, the worker is still cancelling `being_cancelled`.
    `states` are all others, by their state; `not_taken` of them failed before Twilio had them.
    """

    total: int
    waiting_here: int
    not_sent: int
    being_cancelled: int
    not_taken: int
    states: Counter[State]
    failures: Sequence[FailureCount]
    finish_at: datetime | None
    quiet_until: datetime | None
    pause: Pause | None

    @property
    def handed_over(self) -> int:
        return sum(self.states.values()) - self.not_taken

    @property
    def is_open(self) -> bool:
        """Whether outcomes are still to come."""
        return bool(self.states[State.WAITING] or self.states[State.UNKNOWN])

    @property
    def percent(self) -> int:
        return 100 * self.handed_over // max(self.total, 1)


def read_progress(batch: Batch, now: datetime) -> BatchProgress:
    """Count the messages of a batch by an index of their own."""
    counts = {row[0]: row[1] for row in db.session.execute(select_counts(batch))}
    silent_counts = _count_silent(batch, now, counts.keys() & STATE_OF_SILENT.keys())
    states: Counter[State] = Counter()
    in_outbox = not_sent = 0
    for name, count in counts.items():
        if name == status.OUTBOX:
            in_outbox += count
            continue
        if name == "canceled":
            not_sent += count
            continue
        silent = silent_counts.get(name, 0)
        states[_find_state(name, now, now)] += count - silent
        states[_find_state(name, LONG_AGO, now)] += silent
    remaining = in_outbox + max(batch.good_count - batch.queued_count, 0)
    is_stopped, is_running = batch.state == BatchState.STOPPED, batch.state == BatchState.RUNNING
    waiting, not_sent = (0, not_sent + remaining) if is_stopped else (remaining, not_sent)
    quiet_until = batch.quiet_end(now)
    pause = find_pauses(now).get(batch.sender) if is_running and waiting else None
    return BatchProgress(
        total=batch.good_count,
        waiting_here=waiting,
        not_sent=not_sent,
        being_cancelled=in_outbox if is_stopped else 0,
        not_taken=sum(counts.get(word, 0) for word in status.NOT_SENT),
        states=states,
        failures=_count_failures(batch) if states[State.FAILED] else [],
        finish_at=None if quiet_until or pause else _forecast_finish(batch, waiting, now),
        quiet_until=quiet_until,
        pause=pause,
    )


def select_counts(batch: Batch) -> Select[tuple[str, int]]:
    """Select how many messages of a batch have each status."""
    query = select(Message.status, func.count()).where(batch.is_its_message)
    return query.group_by(Message.status)


def _count_silent(batch: Batch, now: datetime, words: Collection[str]) -> Mapping[str, int]:
    """Count by status the messages whose silence alone has changed what is shown of them."""
    is_word = Message.status.in_(sorted(words))
    query = select(Message.status, func.count()).where(
        batch.is_its_message, is_word, is_silent(now)
    )
    rows = db.session.execute(query.group_by(Message.status)) if words else ()
    return {row[0]: row[1] for row in rows}


def _find_state(word: str, since: datetime, now: datetime) -> State:
    return status.display_status(word, since, now=now, receipt_window=receipt_window()).state


def _count_failures(batch: Batch) -> list[FailureCount]:
    """The failures by reason; only of these the rows are read."""
    columns = (Message.status, Message.error_code)
    has_failed = Message.status.in_((*status.NEGATIVE, *status.NOT_SENT))
    query = select(*columns, func.count()).where(batch.is_its_message, has_failed)
    counts: Counter[tuple[str, str | None]] = Counter()
    for word, code, count in db.session.execute(query.group_by(*columns)):
        reason = NOT_SENT_REASONS.get(word) or short_code_reason(code) or "No reason given"
        counts[reason, code] += count
    return [FailureCount(reason, code, count) for (reason, code), count in counts.most_common()]


def _forecast_finish(batch: Batch, waiting: int, now: datetime) -> datetime | None:
    """When the rest is handed over if it goes on as in the last two minutes."""
    if batch.state != BatchState.RUNNING or not waiting:
        return None
    newest = select(Message.handed_over_at).where(batch.is_its_message)
    newest = newest.order_by(Message.created_at.desc(), Message.id.desc()).limit(PACE_SAMPLE)
    times = sorted(at for at in db.session.scalars(newest) if at and at > now - PACE_PERIOD)
    if len(times) < 2 or now <= times[0]:
        return None
    # Up to now: while nothing is handed over, the end moves away.
    return now + waiting * (now - times[0]) / len(times)
