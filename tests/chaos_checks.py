"""Checks that compare the app with the carrier's ledger."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

from flask import Flask
from sqlalchemy import select

from smstracker.extensions import db
from smstracker.models import Message, StatusEvent
from smstracker.models.batches import OVER
from smstracker.simulator.ledger import CallbackAttempt, Ledger
from smstracker.simulator.scenarios import SigningKey
from smstracker.sms.status import FINAL
from tests.chaos_batches import SentBatch

NOT_SENT = frozenset({"refused", "unreached", "untraced"})
UNKNOWN = frozenset({"pending", "unknown"})

# Texts are unique, so a text identifies a message: the statuses of all messages with it.
Statuses = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """App and carrier at one moment. An event is a SID, a status and an idempotency token."""

    sent: Sequence[str]
    truth: Statuses
    attempts: Sequence[CallbackAttempt]
    shown: Statuses
    events: frozenset[tuple[str | None, str, str | None]]
    stopped: Set[str]  # texts of the batches that were stopped
    without_reason: Sequence[str]  # texts of refused messages


def take_snapshot(
    app: Flask, ledger: Ledger, sent: Sequence[str], stopped: Set[str] = frozenset()
) -> Snapshot:
    event_columns = select(
        StatusEvent.twilio_sid, StatusEvent.status, StatusEvent.idempotency_token
    )
    with app.app_context():
        message_columns = select(Message.body, Message.status, Message.error_code)
        message_rows = db.session.execute(message_columns).all()
        events = db.session.execute(event_columns.where(StatusEvent.source == "callback")).all()
    return Snapshot(
        sent=sent,
        truth=_group_by_text((message.body, message.status) for message in ledger.messages()),
        attempts=ledger.attempts(),
        shown=_group_by_text((body, status) for body, status, _ in message_rows),
        events=frozenset((sid, status, token) for sid, status, token in events),
        stopped=stopped,
        without_reason=[
            body for body, status, code in message_rows if status == "refused" and not code
        ],
    )


def _group_by_text(pairs: Iterable[tuple[str, str]]) -> Statuses:
    statuses_by_text = defaultdict(list)
    for text, status in pairs:
        statuses_by_text[text].append(status)
    return dict(statuses_by_text)


def false_statuses(snapshot: Snapshot) -> list[str]:
    """Messages whose status differs from the carrier's."""
    return [
        f"{text}: shown {snapshot.shown.get(text)}, truly {snapshot.truth.get(text)}"
        for text in snapshot.sent
        if not _has_true_status(snapshot, text)
    ]


def awaiting_lookup(snapshot: Snapshot) -> list[str]:
    """Messages with a false status that a look-up may still correct."""
    texts = (text for text in snapshot.sent if not _has_true_status(snapshot, text))
    return [text for text in texts if not set(snapshot.shown.get(text, ())) <= set(FINAL)]


def _has_true_status(snapshot: Snapshot, text: str) -> bool:
    shown = snapshot.shown.get(text, ())
    not_sent = NOT_SENT
    if text in snapshot.stopped:
        not_sent |= {"canceled"}
        if not shown:
            return text not in snapshot.truth
    return len(shown) == 1 and shown[0] in snapshot.truth.get(text, not_sent)


def lost_callbacks(snapshot: Snapshot) -> list[str]:
    """Callbacks that were acknowledged but not stored."""
    return [
        f"{attempt.sid} {attempt.status} {attempt.idempotency_token}"
        for attempt in snapshot.attempts
        if is_acknowledged(attempt)
        and (attempt.sid, attempt.status, attempt.idempotency_token) not in snapshot.events
    ]


def sent_twice(snapshot: Snapshot) -> list[str]:
    """Messages that were sent more than once."""
    return [text for text, statuses in snapshot.truth.items() if len(statuses) > 1]


def accepted_forgeries(snapshot: Snapshot) -> list[str]:
    """Forged callbacks that were acknowledged or stored."""
    stored = {token for _, _, token in snapshot.events}
    return [
        f"{attempt.sid} {attempt.status}"
        for attempt in snapshot.attempts
        if attempt.signing_key is SigningKey.WRONG
        and (is_acknowledged(attempt) or attempt.idempotency_token in stored)
    ]


def refused_without_reason(snapshot: Snapshot) -> Sequence[str]:
    """Refused messages that do not say why."""
    return snapshot.without_reason


def unresolved(snapshot: Snapshot) -> list[str]:
    """Messages with an open outcome, although the carrier's list shows whether they were sent."""
    return [text for text, statuses in snapshot.shown.items() if UNKNOWN.intersection(statuses)]


CHECKS: Mapping[str, Callable[[Snapshot], Sequence[str]]] = {
    "messages with a false status": false_statuses,
    "acknowledged callbacks not stored": lost_callbacks,
    "messages sent twice": sent_twice,
    "forged callbacks believed": accepted_forgeries,
    "messages left unknown": unresolved,
    "messages refused without a reason": refused_without_reason,
}


def wrong_totals(snapshot: Snapshot, batches: Iterable[SentBatch]) -> list[str]:
    """Batches that are not over, or whose totals are not those of their rows."""
    return [
        f"{batch.public_id} {batch.answer}"
        for batch in batches
        if batch.answer["state"] not in OVER or _expected_counts(snapshot, batch) != _counts(batch)
    ]


def _expected_counts(snapshot: Snapshot, batch: SentBatch) -> dict[str, int]:
    shown = Counter(
        status for text in batch.texts for status in snapshot.shown.get(text, ["not sent"])
    )
    if not batch.is_stopped:
        shown.pop("not sent", None)
    return {
        "rows": len(batch.texts),
        "valid_rows": len(batch.texts),
        "not_sent": shown["not sent"] + shown["canceled"],
        "waiting_here": 0,
        "counted": len(batch.texts),
    }


def _counts(batch: SentBatch) -> dict[str, int]:
    answer, counts = batch.answer, batch.answer["counts"]
    names = ("not_sent", "waiting_here")
    sizes = {name: answer[name] for name in ("rows", "valid_rows")}
    return sizes | {n: counts[n] for n in names} | {"counted": sum(counts.values())}


def sent_during_pauses(ledger: Ledger, batches: Iterable[SentBatch]) -> list[str]:
    """Messages of batches that Twilio got while these were paused."""
    times = {message.body: message.created_at for message in ledger.messages()}
    return [
        f"{text} at {times[text]}, paused {since} to {until}"
        for batch in batches
        for since, until in batch.pauses
        for text in batch.texts
        if text in times and since < times[text] < until
    ]


def count_callbacks(attempts: Sequence[CallbackAttempt]) -> dict[str, int]:
    """Counts of the carrier's callback requests by their response."""
    statuses = [attempt.response_status or 0 for attempt in attempts]
    return {
        "callbacks posted": len(statuses),
        "callbacks acknowledged (2xx)": sum(200 <= status < 300 for status in statuses),
        "callbacks refused (4xx)": sum(400 <= status < 500 for status in statuses),
        "callbacks not stored (503)": statuses.count(503),
        "callbacks not answered": statuses.count(0),
        "callbacks stored after a 503": _count_retried(attempts),
    }


def _count_retried(attempts: Sequence[CallbackAttempt]) -> int:
    """The number of callbacks that met a 503 and were acknowledged later."""
    answers = defaultdict(Counter)
    for attempt in attempts:
        answers[attempt.idempotency_token][attempt.response_status] += 1
    return sum(bool(met[503] and met[204]) for met in answers.values())


def is_acknowledged(attempt: CallbackAttempt) -> bool:
    return attempt.response_status is not None and 200 <= attempt.response_status < 300
