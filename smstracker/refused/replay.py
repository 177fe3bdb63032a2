"""Apply refused callbacks that verify with today's settings, once and as if they had just passed.

Only the signature decides, whatever it was refused for: what is forged stays refused for ever.
"""

import logging
import re
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Connection, Row, exists, func, select

from smstracker.carrier import current_carrier
from smstracker.clock import utcnow
from smstracker.database.engine import UNAVAILABLE
from smstracker.extensions import db, settings
from smstracker.models import RefusedCallback
from smstracker.models.event_store import store_callback
from smstracker.models.events import StatusUpdate
from smstracker.refused.diagnosis import explain, is_proven, signer_today
from smstracker.refused.payload import read_callback
from smstracker.refused.request import Refusal, RefusedRequest

log = logging.getLogger(__name__)

# Of more than these, what stays refused is explained later: to explain takes a hundred times as
# long as to verify.
EXPLAINED = 50
UNEXPLAINED = "Not explained yet."
FORESEEN = 1_000  # refusals that are looked at to tell what a replay would do
LOOKS_FOR = 0.5  # seconds: what strangers post may take long to read
BATCH = 100  # in one transaction, which keeps callbacks waiting
_REASONS = frozenset(Refusal)
_MESSAGE_PATH = re.compile(r"/+webhooks/+twilio/+status/+([^/]+)/*")


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """How many were applied and how many stay refused."""

    applied: int = 0
    refused: int = 0

    def __add__(self, other: "ReplayResult") -> "ReplayResult":
        return ReplayResult(self.applied + other.applied, self.refused + other.refused)


@dataclass(frozen=True, slots=True)
class ReplayForecast:
    """How many a replay would apply; `is_whole` unless there are more than were looked at.

    `is_done` if there is none that was not applied yet.
    """

    applicable: int
    is_whole: bool
    is_done: bool


@dataclass(frozen=True, slots=True)
class ReplayDecision:
    """What a row comes to today: news of a message, or why it is still refused."""

    row: Row[Any]
    public_id: uuid.UUID | None
    news: StatusUpdate | None
    diagnosis: tuple[str | None, str | None] | None

    @property
    def order(self) -> str:
        return (self.news and self.news.twilio_sid) or ""


def replay(ids: Sequence[int] | None) -> ReplayResult:
    """Replay these, or all, in the order in which they came; what was applied before is left out.

    Commits after each batch, so what an error interrupts may simply be done again.
    """
    waiting = db.session.scalars(RefusedCallback.select_unapplied(ids)).all()
    db.session.commit()
    replayed = ReplayResult()
    for at in range(0, len(waiting), BATCH):
        explains = len(waiting) <= EXPLAINED
        verdicts = list(_verdicts(waiting[at : at + BATCH], utcnow(), explains))
        replayed += _replay(verdicts)
    return replayed


def would_be_applied(refusal: Any) -> bool:
    """Whether a replay would apply a stored refusal: far quicker to tell than why not."""
    if not refusal.signature or refusal.reason not in _REASONS:
        return False
    return _news(RefusedRequest.of(refusal), refusal.first_at, refusal.first_at) is not None


def forecast(connection: Connection) -> ReplayForecast:
    """What a replay of all would come to now."""
    waits = RefusedCallback.replayed_at.is_(None)
    signed = select(*RefusedCallback.__table__.columns).where(
        waits, RefusedCallback.signature.is_not(None)
    )
    # What names our account first: a flood of strangers' must not keep it from being looked at.
    order = (RefusedCallback.is_plausible.desc(), RefusedCallback.id.desc())
    refusals = connection.execute(signed.order_by(*order).limit(FORESEEN + 1)).all()
    applicable = looked_at = 0
    until = monotonic() + LOOKS_FOR
    for refusal in refusals[:FORESEEN]:
        if monotonic() > until:
            break
        looked_at += 1
        applicable += would_be_applied(refusal)
    return ReplayForecast(
        applicable,
        is_whole=looked_at == len(refusals),
        is_done=not refusals and not connection.scalar(select(exists().where(waits))),
    )


def still_refused(ids: Sequence[int] | None) -> list[tuple[str, int]]:
    """Why those of `ids` (None: of all) are still refused, and how many for it; most first."""
    reason = func.coalesce(RefusedCallback.diagnosis, UNEXPLAINED)
    waiting = RefusedCallback.select_unapplied(ids).order_by(None)
    counted = select(reason, func.count()).where(RefusedCallback.id.in_(waiting)).group_by(reason)
    rows = db.session.execute(counted.order_by(func.count().desc(), reason)).all()
    return [(sentence, count) for sentence, count in rows]


def _verdicts(ids: Sequence[int], now: datetime, explains: bool) -> Iterator[ReplayDecision]:
    """What is to be done, found before the transaction: verifying must keep nobody waiting."""
    table = RefusedCallback.__table__
    columns = select(*table.columns).where(RefusedCallback.id.in_(ids))
    rows = db.session.execute(columns.order_by(RefusedCallback.first_at, RefusedCallback.id)).all()
    db.session.commit()
    signatures = current_carrier().signatures
    for row in rows:
        evidence = RefusedRequest.of(row)
        news = _news(evidence, row.first_at, now)
        diagnosis = None
        if news is None:
            diagnosis = explain(evidence, settings(), signatures) if explains else (None, None)
        yield ReplayDecision(row, _public_id(evidence.target), news, diagnosis)


def _news(evidence: RefusedRequest, received_at: datetime, now: datetime) -> StatusUpdate | None:
    """The news in a callback that verifies today and can be read."""
    signer = signer_today(evidence, settings(), current_carrier().signatures)
    if signer is None:
        return None
    token = evidence.idempotency_token
    times = {"received_at": received_at, "replayed_at": now}
    return read_callback(evidence.form, signer, token, evidence.target, **times)


def _public_id(target: str) -> uuid.UUID | None:
    match = _MESSAGE_PATH.fullmatch(urlsplit(target).path)
    try:
        return uuid.UUID(match[1]) if match else None
    except ValueError:
        return None


def _replay(verdicts: list[ReplayDecision]) -> ReplayResult:
    """It is not counted as accepted: that would tell of a connection that refused it."""
    connection, applied = db.session.connection(), 0
    mine = set(
        connection.scalars(RefusedCallback.lock_unapplied([verdict.row.id for verdict in verdicts]))
    )
    # Rows by fingerprint, then messages by SID: the writer takes its locks in the same order.
    for verdict in sorted((v for v in verdicts if v.row.id in mine), key=lambda v: v.order):
        if verdict.news and _applied(verdict, verdict.news):
            applied += 1
        elif verdict.diagnosis:
            sentence, setting = verdict.diagnosis
            explained = (verdict.row.id, sentence, setting, is_proven(sentence))
            connection.execute(RefusedCallback.set_diagnosis(*explained))
    db.session.commit()
    return ReplayResult(applied, len(mine) - applied)


def _applied(verdict: ReplayDecision, news: StatusUpdate) -> bool:
    """Store it; one that cannot be stored must not cost the others their place."""
    connection = db.session.connection()
    try:
        with connection.begin_nested():
            connection.execute(RefusedCallback.mark_replayed(verdict.row.id, news.replayed_at))
            store_callback(connection, verdict.public_id, news)
    except UNAVAILABLE:
        raise
    except Exception as error:
        log.error("replay_failed", exc_info=error)
        return False
    return True
