"""Diagnose stored refusals and save the diagnoses."""

from itertools import chain
from operator import itemgetter
from time import monotonic

from sqlalchemy import Select, select

from smstracker.carrier import current_carrier
from smstracker.extensions import db
from smstracker.models import RefusedCallback
from smstracker.refused.diagnosis import Diagnosis, explain, is_proven
from smstracker.refused.request import RefusedRequest, StoredRefusal
from smstracker.refused.sentences import APPLIED

# A costly one takes a twentieth of a second; the worker's look-ups wait meanwhile.
MAX_SECONDS = 1.0


def read_diagnosis(refusal: StoredRefusal) -> Diagnosis:
    """The stored diagnosis; of an applied refusal only that, because nothing is at fault."""
    if refusal.replayed_at:
        return Diagnosis(APPLIED)
    return Diagnosis(refusal.diagnosis, refusal.setting)


def diagnose_pending(limit: int = 200) -> int:
    """Diagnose up to `limit` refusals for `MAX_SECONDS`; return how many. The caller commits.

    Takes the newest and the oldest in turn, so that a flood delays neither what came before it nor
    what comes after it; signed requests go first.
    """
    is_pending = RefusedCallback.diagnosis.is_(None) & RefusedCallback.replayed_at.is_(None)
    pending = select(RefusedCallback.id).where(is_pending).limit(limit)
    pending = pending.order_by(RefusedCallback.signature.is_not(None).desc())
    newest = db.session.scalars(pending.order_by(RefusedCallback.id.desc()))
    oldest = db.session.scalars(pending.order_by(RefusedCallback.id))
    ids = dict.fromkeys(chain.from_iterable(zip(newest, oldest, strict=False)))
    return _diagnose(list(ids)[:limit], monotonic() + MAX_SECONDS)


def diagnose(select_ids: Select[tuple[int]]) -> int:
    """Diagnose these anew by today's settings; return how many. The caller commits."""
    return _diagnose(list(db.session.scalars(select_ids)), None)


def _diagnose(ids: list[int], deadline: float | None) -> int:
    """Diagnose in this order until the deadline, one at least."""
    selected = select(RefusedCallback.__table__).where(RefusedCallback.id.in_(ids))
    rows = {row.id: row for row in db.session.execute(selected)}
    # Diagnosing is slow: no lock must keep a callback waiting meanwhile.
    db.session.commit()
    signatures = current_carrier().signatures
    diagnoses: dict[int, Diagnosis] = {}
    for row in (rows[id_] for id_ in ids if id_ in rows):
        if diagnoses and deadline is not None and monotonic() >= deadline:
            break
        diagnoses[row.id] = explain(RefusedRequest.from_row(row), signatures)
    # The lock order of a replay.
    for id_, diagnosis in sorted(diagnoses.items(), key=itemgetter(0)):
        values = (id_, *diagnosis, is_proven(diagnosis.sentence))
        db.session.execute(RefusedCallback.set_diagnosis(*values))
    return len(diagnoses)
