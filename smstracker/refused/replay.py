"""Apply refused callbacks that verify with today's settings, each once.

Only the signature decides, whatever the reason of the refusal: forged ones stay refused.
"""

import logging
import re
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from itertools import takewhile
from time import monotonic
from urllib.parse import urlsplit

from sqlalchemy import Connection, func, select

from smstracker.callback_requests.payload import parse_uuid
from smstracker.callback_requests.status_callback import Refusal, VerifiedCallback, read_callback
from smstracker.carrier import current_carrier
from smstracker.clock import utcnow
from smstracker.database.engine import UNAVAILABLE
from smstracker.database.lock_waits import repeat_while_locked
from smstracker.database.row_sets import is_any_of
from smstracker.extensions import db, writing
from smstracker.models import RefusedCallback
from smstracker.models.audit_log import AuditAction, record_audit
from smstracker.models.callback_store import Callback, lock_callback_messages, store_callback
from smstracker.models.events import StatusUpdate
from smstracker.refused.diagnosis import Diagnosis, diagnose_request, identify_signer, is_proven
from smstracker.refused.request import RefusedRequest, StoredRefusal
from smstracker.web.urls import STATUS_PATH

log = logging.getLogger(__name__)

# Beyond this the worker explains them later: explaining takes a hundred times as long as verifying.
MAX_EXPLAINED = 50
MAX_EXPLAIN_SECONDS = 2.0  # for all of them together
MAX_FORECAST = 1_000  # refusals
MAX_FORECAST_SECONDS = 0.5
BATCH_SIZE = 100  # refusals a transaction, which keeps callbacks waiting
_REASONS = frozenset(Refusal)


@dataclass(slots=True)
class ReplayResult:
    """Numbers of refusals: applied, still refused, and applied by others at the same time."""

    applied: int = 0
    refused: int = 0
    applied_by_others: int = 0


@dataclass(frozen=True, slots=True)
class ReplayForecast:
    """Refusals that a replay of all would apply, by id; there may be more if not complete."""

    applicable_ids: tuple[int, ...]
    is_complete: bool

    @property
    def applicable(self) -> int:
        return len(self.applicable_ids)


@dataclass(frozen=True, slots=True)
class ReplayDecision:
    """The update that a refusal gives today, or why it stays refused."""

    id: int
    public_id: uuid.UUID | None
    update: StatusUpdate | None
    diagnosis: Diagnosis | None


def replay(ids: Sequence[int] | None, actor: str) -> ReplayResult:
    """Apply these (None: all) in the order of arrival, each once; `actor` goes to the audit log.

    Commits after each batch, so an interrupted replay can simply be repeated. Several at once wait
    for each other's batches, and each counts what it has applied itself.
    """
    waiting_ids = db.session.scalars(RefusedCallback.select_unapplied(ids)).all()
    with writing():
        subject = str(ids[0]) if ids and len(ids) == 1 else f"{len(waiting_ids):,} of them"
        record_audit(AuditAction.REPLAYED_CALLBACKS, actor=actor, subject=subject)
    result = ReplayResult()
    explain_until = monotonic() + MAX_EXPLAIN_SECONDS if len(waiting_ids) <= MAX_EXPLAINED else 0.0
    for start in range(0, len(waiting_ids), BATCH_SIZE):
        decisions = list(_decide(waiting_ids[start : start + BATCH_SIZE], utcnow(), explain_until))
        applied, refused = repeat_while_locked(partial(_apply_batch, decisions))
        result.applied += applied
        result.refused += refused
    is_applied = is_any_of(db.engine.dialect.name, RefusedCallback.id)
    is_applied &= RefusedCallback.replayed_at.is_not(None)
    query = select(func.count()).select_from(RefusedCallback).where(is_applied)
    applied_count = db.session.scalar(query, {"values": list(waiting_ids)}) or 0
    result.applied_by_others = max(applied_count - result.applied, 0)
    return result


def is_applicable(refusal: StoredRefusal) -> bool:
    """Whether a replay would apply a stored refusal; far quicker than explaining it."""
    if not refusal.signature or refusal.reason not in _REASONS:
        return False
    return _read_update(RefusedRequest.from_row(refusal)) is not None


def forecast(connection: Connection) -> ReplayForecast:
    """Predict a replay of all."""
    is_waiting = RefusedCallback.replayed_at.is_(None)
    is_signed = RefusedCallback.signature.is_not(None)
    signed = select(RefusedCallback.__table__).where(is_waiting, is_signed)
    # Our account first: a flood of strangers must not use up the limit.
    order = (RefusedCallback.is_plausible.desc(), RefusedCallback.id.desc())
    refusals = connection.execute(signed.order_by(*order).limit(MAX_FORECAST + 1)).all()
    deadline = monotonic() + MAX_FORECAST_SECONDS
    timely_refusals = takewhile(lambda _: monotonic() <= deadline, refusals[:MAX_FORECAST])
    verdicts = {refusal.id: is_applicable(refusal) for refusal in timely_refusals}
    return ReplayForecast(
        tuple(id_ for id_, would_apply in verdicts.items() if would_apply),
        is_complete=len(verdicts) == len(refusals),
    )


def still_refused(ids: Sequence[int] | None) -> list[tuple[str, int]]:
    """Count what is still refused of `ids` (None: of all) by diagnosis, most frequent first."""
    reason = func.coalesce(RefusedCallback.diagnosis, "Not explained yet.")
    waiting = RefusedCallback.select_unapplied(ids).order_by(None)
    counted = select(reason, func.count()).where(RefusedCallback.id.in_(waiting)).group_by(reason)
    rows = db.session.execute(counted.order_by(func.count().desc(), reason)).all()
    return [(sentence, count) for sentence, count in rows]


def _decide(ids: Sequence[int], now: datetime, explain_until: float) -> Iterator[ReplayDecision]:
    """Decide before the transaction, so that verifying blocks nobody."""
    selected = select(RefusedCallback.__table__).where(RefusedCallback.id.in_(ids))
    order = (RefusedCallback.first_at, RefusedCallback.id)
    rows = db.session.execute(selected.order_by(*order)).all()
    db.session.commit()
    signatures = current_carrier().signatures
    for row in rows:
        request = RefusedRequest.from_row(row)
        update, diagnosis = _read_update(request), None
        if update is not None:
            update = replace(update, received_at=row.first_at, replayed_at=now)
        else:
            # The worker explains what is left.
            diagnosis = (
                diagnose_request(request, signatures)
                if monotonic() < explain_until
                else Diagnosis()
            )
        yield ReplayDecision(row.id, _public_id(request.target), update, diagnosis)


def _read_update(request: RefusedRequest) -> StatusUpdate | None:
    """The update in a request that verifies today and is a status callback."""
    signer = identify_signer(request, current_carrier().signatures)
    if signer is None:
        return None
    callback = VerifiedCallback(request.form, signer, request.target)
    return read_callback(callback, request.idempotency_token)


def _public_id(target: str) -> uuid.UUID | None:
    path = re.sub("/{2,}", "/", urlsplit(target).path).rstrip("/")
    prefix, _, public_id = path.rpartition("/")
    return parse_uuid(public_id) if prefix == STATUS_PATH else None


def _apply_batch(decisions: list[ReplayDecision]) -> tuple[int, int]:
    """Apply decisions in a transaction; return how many were applied, and how many stay refused.

    They are not counted as accepted callbacks, which would hide that the connection refused them.
    """
    with writing():
        return _apply_unapplied(db.session.connection(), decisions)


def _apply_unapplied(connection: Connection, decisions: list[ReplayDecision]) -> tuple[int, int]:
    """Apply those that nobody has applied since they were read."""
    row_ids = [decision.id for decision in decisions]
    locked_ids = set(connection.scalars(RefusedCallback.lock_unapplied(row_ids)))
    locked = [decision for decision in decisions if decision.id in locked_ids]
    # All at once and in one order: two replays must not wait for each other.
    lock_callback_messages(
        connection, [Callback(d.public_id, d.update) for d in locked if d.update]
    )
    applied = 0
    for decision in locked:
        if decision.update and _apply(decision, decision.update):
            applied += 1
        elif decision.diagnosis:
            row = (decision.id, *decision.diagnosis, is_proven(decision.diagnosis.sentence))
            connection.execute(RefusedCallback.set_diagnosis(*row))
    return applied, len(locked) - applied


def _apply(decision: ReplayDecision, update: StatusUpdate) -> bool:
    """Store one in a savepoint, so that its failure does not undo the others."""
    connection = db.session.connection()
    try:
        with connection.begin_nested():
            connection.execute(RefusedCallback.mark_replayed(decision.id, update.replayed_at))
            store_callback(connection, decision.public_id, update)
    except UNAVAILABLE:
        raise
    except Exception as error:
        log.error("replay_failed", exc_info=error)
        return False
    return True
