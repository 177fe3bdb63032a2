"""Diagnose stored refusals and save the diagnoses."""

from itertools import chain, zip_longest
from operator import itemgetter
from time import monotonic

from sqlalchemy import ColumnElement, Connection, Select, func, select

from smstracker.callback_requests.status_callback import VERIFIED
from smstracker.carrier import current_carrier
from smstracker.carrier.signatures import SIGNATURE_LENGTHS
from smstracker.database.engine import reading_connection
from smstracker.extensions import db
from smstracker.models import RefusedCallback
from smstracker.refused.diagnosis import Diagnosis, diagnose_request, is_proven
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
    """Diagnose up to `limit` refusals for `MAX_SECONDS`; return how many. The caller commits."""
    with reading_connection(db.engine) as connection:
        ids = _pending_ids(connection, limit)
    return _diagnose(ids, monotonic() + MAX_SECONDS)


def _pending_ids(connection: Connection, limit: int) -> list[int]:
    """The ids of pending refusals: of each class in turn the newest and the oldest.

    So a flood delays neither another class nor what came before or after it.
    """
    queues = []
    for condition in _classes():
        pending = select(RefusedCallback.id).where(RefusedCallback.is_pending(), condition)
        for order in (RefusedCallback.id.desc(), RefusedCallback.id):
            queues.append(connection.scalars(pending.order_by(order).limit(limit)).all())
    turns = chain.from_iterable(zip_longest(*queues))
    return list(dict.fromkeys(id_ for id_ in turns if id_ is not None))[:limit]


def _classes() -> tuple[ColumnElement[bool], ...]:
    """Conditions for the classes of refusals, by who can have sent such a request.

    Twilio and our users know the SIDs of messages, some more know our account, and anybody can
    send the rest. The signature of one that can be Twilio's has the length of a hash.
    """
    names_us, signature = RefusedCallback.is_plausible, RefusedCallback.signature
    has_signature = func.length(func.coalesce(signature, "")).in_(SIGNATURE_LENGTHS)
    is_known = RefusedCallback.reason.in_(VERIFIED) | RefusedCallback.names_message()
    return (
        names_us & has_signature & is_known,
        names_us & has_signature,
        names_us & ~has_signature,
        ~names_us,
    )


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
        diagnoses[row.id] = diagnose_request(RefusedRequest.from_row(row), signatures)
    # The lock order of a replay.
    for id_, diagnosis in sorted(diagnoses.items(), key=itemgetter(0)):
        values = (id_, *diagnosis, is_proven(diagnosis.sentence))
        db.session.execute(RefusedCallback.set_diagnosis(*values))
    return len(diagnoses)
