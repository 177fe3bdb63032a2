"""Why callbacks were refused, also where nobody has written it down yet. Stores nothing."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, Select, case, func, select
from sqlalchemy.engine import Connection
from sqlalchemy.sql import ColumnElement

from smstracker.carrier import current_carrier
from smstracker.connection.queries import sum_if
from smstracker.extensions import settings
from smstracker.models import RefusedCallback
from smstracker.refused.diagnosis import READY, explain, is_proven
from smstracker.refused.replay import would_be_applied
from smstracker.refused.request import RefusedRequest

MANY_CAUSES = 50
UNEXPLAINED = 20

Diagnosis = tuple[str | None, str | None]


@dataclass(frozen=True, slots=True)
class RefusalCause:
    """Why callbacks were refused that have not been replayed; counts of 1 h, 24 h and 7 d.

    `is_proven` ones were signed by one of our tokens, so they are Twilio's.
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


def refusal_causes(
    connection: Connection, now: datetime, spans: Sequence[timedelta]
) -> tuple[RefusalCause, ...]:
    """By what is behind it; the likely ones and the most frequent first."""

    def rank(cause: RefusalCause) -> tuple[bool, int, int, int, float]:
        age = -cause.newest_at.timestamp()
        return not cause.is_plausible, -cause.hour, -cause.day, -cause.week, age

    rows = connection.execute(_causes(now, spans)).all()
    mended = _mended(connection, [row.newest_id for row in rows if row.diagnosis])
    found = (_explained(connection, row, row.newest_id in mended) for row in rows)
    return tuple(sorted(_merged(found), key=rank))


def _mended(connection: Connection, ids: Sequence[int]) -> set[int]:
    """Those of `ids` that would be applied today, whatever was written down when they came."""
    if not ids:
        return set()
    columns = select(*RefusedCallback.__table__.columns).where(RefusedCallback.id.in_(ids))
    return {row.id for row in connection.execute(columns) if would_be_applied(row)}


def _merged(causes: Iterable[RefusalCause]) -> Iterable[RefusalCause]:
    """One for each explanation, whether it was written down or has just been found."""
    merged: dict[tuple[Any, ...], RefusalCause] = {}
    for one in causes:
        key = (one.reason, one.diagnosis, one.setting, one.is_plausible)
        same = merged.get(key)
        merged[key] = one if same is None else _sum(same, one)
    return merged.values()


def _sum(one: RefusalCause, other: RefusalCause) -> RefusalCause:
    return replace(
        one,
        hour=one.hour + other.hour,
        day=one.day + other.day,
        week=one.week + other.week,
        newest_at=max(one.newest_at, other.newest_at),
    )


def _explained(connection: Connection, row: Row[Any], is_mended: bool) -> RefusalCause:
    columns = {name: value for name, value in row._mapping.items() if name != "newest_id"}
    cause = RefusalCause(**columns)
    if is_mended:
        return replace(cause, diagnosis=READY, setting=None, is_proven=True)
    if cause.diagnosis or not cause.is_plausible:
        return cause
    said, setting = _diagnosis_of_sample(connection, cause.reason)
    return replace(cause, diagnosis=said, setting=setting, is_proven=is_proven(said))


def current_diagnosis(refusal: Any) -> Diagnosis:
    """The sentence and the setting of a stored refusal, found now if it has none or is mended."""
    if refusal.replayed_at or (refusal.diagnosis and not would_be_applied(refusal)):
        return refusal.diagnosis, refusal.setting
    return explain(RefusedRequest.of(refusal), settings(), current_carrier().signatures)


def _diagnosis_of_sample(connection: Connection, reason: str) -> Diagnosis:
    """What is behind some likely refusals that nobody has explained yet, a proven one if any is.

    It stands for the others of its kind until they are explained one by one.
    """
    sample = connection.execute(_unexplained(reason)).all()
    found = [current_diagnosis(refusal) for refusal in sample]
    proven = [one for one in found if is_proven(one[0])]
    return next(iter(proven + found), (None, None))


def _causes(now: datetime, spans: Sequence[timedelta]) -> Select[Any]:
    """Refused and not replayed, by what is behind it."""
    by = (
        RefusedCallback.reason,
        RefusedCallback.diagnosis,
        RefusedCallback.setting,
        RefusedCallback.is_plausible,
        RefusedCallback.is_proven,
    )
    counts = [
        _select_recent(now - span).label(name)
        for span, name in zip(spans, ("hour", "day", "week"), strict=True)
    ]
    newest = func.max(RefusedCallback.last_at).label("newest_at")
    return (
        select(*by, *counts, newest, func.max(RefusedCallback.id).label("newest_id"))
        .where(RefusedCallback.last_at > now - max(spans), RefusedCallback.replayed_at.is_(None))
        .group_by(*by)
        .order_by(RefusedCallback.is_plausible.desc(), func.count().desc())
        .limit(MANY_CAUSES)
    )


def _unexplained(reason: str) -> Select[Any]:
    """A few likely ones, those that carry a signature first."""
    return (
        select(*RefusedCallback.__table__.columns)
        .where(
            RefusedCallback.is_plausible,
            RefusedCallback.reason == reason,
            RefusedCallback.diagnosis.is_(None),
            RefusedCallback.replayed_at.is_(None),
        )
        .order_by(RefusedCallback.signature.is_not(None).desc(), RefusedCallback.id.desc())
        .limit(UNEXPLAINED)
    )


def _select_recent(since: datetime) -> ColumnElement[Any]:
    # Of one that came again and again since earlier, only the last time is known.
    came = case((RefusedCallback.first_at > since, RefusedCallback.count), else_=1)
    return sum_if(RefusedCallback.last_at > since, came)
