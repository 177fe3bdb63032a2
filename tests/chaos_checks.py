"""Checks that compare the app with the carrier's ledger."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from flask import Flask
from sqlalchemy import select

from smstracker.extensions import db
from smstracker.models import Message, StatusEvent
from smstracker.simulator.ledger import CallbackAttempt, Ledger
from smstracker.simulator.scenarios import SigningKey
from smstracker.sms.status import FINAL

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


def take_snapshot(app: Flask, ledger: Ledger, sent: Sequence[str]) -> Snapshot:
    event_columns = select(
        StatusEvent.twilio_sid, StatusEvent.status, StatusEvent.idempotency_token
    )
    with app.app_context():
        message_rows = db.session.execute(select(Message.body, Message.status)).all()
        events = db.session.execute(event_columns.where(StatusEvent.source == "callback")).all()
    return Snapshot(
        sent=sent,
        truth=_group_by_text((message.body, message.status) for message in ledger.messages()),
        attempts=ledger.attempts(),
        shown=_group_by_text((body, status) for body, status in message_rows),
        events=frozenset((sid, status, token) for sid, status, token in events),
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
    return len(shown) == 1 and shown[0] in snapshot.truth.get(text, NOT_SENT)


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


def unresolved(snapshot: Snapshot) -> list[str]:
    """Messages with an open outcome, although the carrier's list shows whether they were sent."""
    return [text for text, statuses in snapshot.shown.items() if UNKNOWN.intersection(statuses)]


CHECKS: Mapping[str, Callable[[Snapshot], list[str]]] = {
    "messages with a false status": false_statuses,
    "acknowledged callbacks not stored": lost_callbacks,
    "messages sent twice": sent_twice,
    "forged callbacks believed": accepted_forgeries,
    "messages left unknown": unresolved,
}


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
