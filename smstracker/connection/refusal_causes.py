"""Group refused callbacks by cause, diagnosing those that are not yet. Stores nothing."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from operator import attrgetter

from sqlalchemy import Select, case, func, select
from sqlalchemy.engine import Connection
from sqlalchemy.sql import ColumnElement

from smstracker.carrier import current_carrier
from smstracker.connection.queries import PERIODS, WEEK, sum_if
from smstracker.models import RefusedCallback
from smstracker.refused.diagnosis import Diagnosis, explain, is_proven
from smstracker.refused.replay import is_applicable
from smstracker.refused.request import RefusedRequest, StoredRefusal
from smstracker.refused.sentences import READY

MAX_CAUSES = 50
MAX_SAMPLE = 20


@dataclass(frozen=True, slots=True)
class RefusalCause:
    """One cause of refusals that were not replayed, counted in 1 h, 24 h and 7 d.

    `is_proven`: one of our secrets signed them, so they are Twilio's.
    """

    reason: str
    diagnosis: str | None
    setting: str | None
    is_plausible: bool
    is_proven: bool
    hour: int
    day: int
    week: int
    newest_at: datetime


def refusal_causes(connection: Connection, now: datetime) -> tuple[RefusalCause, ...]:
    """Read the causes: those for our account first, then by frequency."""
    rows = connection.execute(_select_causes(now)).all()
    applicable_ids = _applicable_ids(connection, [row.newest_id for row in rows if row.diagnosis])
    causes = (
        _diagnose(connection, RefusalCause(*row[:-1]), row.newest_id in applicable_ids)
        for row in rows
    )
    weight = attrgetter("is_plausible", "hour", "day", "week", "newest_at")
    return tuple(sorted(_merge(causes), key=weight, reverse=True))


def _applicable_ids(connection: Connection, ids: Sequence[int]) -> set[int]:
    """Select those of `ids` that a replay would apply today, whatever their diagnosis."""
    if not ids:
        return set()
    columns = select(*RefusedCallback.__table__.columns).where(RefusedCallback.id.in_(ids))
    return {row.id for row in connection.execute(columns) if is_applicable(row)}


def _merge(causes: Iterable[RefusalCause]) -> Iterable[RefusalCause]:
    """Add up causes that differ only in whether their diagnosis was stored."""
    merged: dict[tuple[str, str | None, str | None, bool], RefusalCause] = {}
    for cause in causes:
        key = (cause.reason, cause.diagnosis, cause.setting, cause.is_plausible)
        if same := merged.get(key):
            cause = replace(
                same,
                hour=same.hour + cause.hour,
                day=same.day + cause.day,
                week=same.week + cause.week,
                newest_at=max(same.newest_at, cause.newest_at),
            )
        merged[key] = cause
    return merged.values()


def _diagnose(connection: Connection, cause: RefusalCause, would_apply: bool) -> RefusalCause:
    if would_apply:
        return replace(cause, diagnosis=READY, setting=None, is_proven=True)
    if cause.diagnosis or not cause.is_plausible:
        return cause
    sentence, setting = _diagnose_sample(connection, cause.reason)
    return replace(cause, diagnosis=sentence, setting=setting, is_proven=is_proven(sentence))


def current_diagnosis(refusal: StoredRefusal) -> Diagnosis:
    """The stored diagnosis; found now if there is none or a replay would apply the refusal."""
    if refusal.replayed_at or (refusal.diagnosis and not is_applicable(refusal)):
        return Diagnosis(refusal.diagnosis, refusal.setting)
    return explain(RefusedRequest.from_row(refusal), current_carrier().signatures)


def _diagnose_sample(connection: Connection, reason: str) -> Diagnosis:
    """Diagnose a few refusals for our account, on behalf of all that have no diagnosis yet.

    Takes signed ones first, and prefers a diagnosis that proves them Twilio's.
    """
    sample = (
        select(*RefusedCallback.__table__.columns)
        .where(
            RefusedCallback.is_plausible,
            RefusedCallback.reason == reason,
            RefusedCallback.diagnosis.is_(None),
            RefusedCallback.replayed_at.is_(None),
        )
        .order_by(RefusedCallback.signature.is_not(None).desc(), RefusedCallback.id.desc())
        .limit(MAX_SAMPLE)
    )
    diagnoses = [current_diagnosis(refusal) for refusal in connection.execute(sample).all()]
    proven = [diagnosis for diagnosis in diagnoses if is_proven(diagnosis.sentence)]
    return next(iter(proven + diagnoses), Diagnosis())


def _select_causes(now: datetime) -> Select[tuple[object, ...]]:
    """Count refusals that were not replayed by cause: its fields, and the newest id."""
    group = (
        RefusedCallback.reason,
        RefusedCallback.diagnosis,
        RefusedCallback.setting,
        RefusedCallback.is_plausible,
        RefusedCallback.is_proven,
    )
    counts = [
        _count_refusals_after(now - period).label(name)
        for period, name in zip(PERIODS, ("hour", "day", "week"), strict=True)
    ]
    newest = func.max(RefusedCallback.last_at).label("newest_at")
    return (
        select(*group, *counts, newest, func.max(RefusedCallback.id).label("newest_id"))
        .where(RefusedCallback.last_at > now - WEEK, RefusedCallback.replayed_at.is_(None))
        .group_by(*group)
        .order_by(RefusedCallback.is_plausible.desc(), func.count().desc())
        .limit(MAX_CAUSES)
    )


def _count_refusals_after(since: datetime) -> ColumnElement[int]:
    # Of a repeated one that began before, only the last time is known.
    count = case((RefusedCallback.first_at > since, RefusedCallback.count), else_=1)
    return sum_if(RefusedCallback.last_at > since, count)
