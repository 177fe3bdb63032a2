"""Group refused callbacks by cause, diagnosing those that are not yet. Stores nothing."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from operator import attrgetter
from time import monotonic

from flask import g
from sqlalchemy import Row, Select, case, func, or_, select
from sqlalchemy.engine import Connection
from sqlalchemy.sql.elements import Label

from smstracker.carrier import current_carrier
from smstracker.clock import WEEK, is_within
from smstracker.connection.queries import PERIODS
from smstracker.models import RefusedCallback
from smstracker.refused.diagnosis import Diagnosis, diagnose_request, is_proven
from smstracker.refused.replay import is_applicable
from smstracker.refused.request import RefusedRequest, StoredRefusal
from smstracker.refused.sentences import READY
from smstracker.refused.stored_diagnosis import read_diagnosis

COUNTS = ("hour", "day", "week")  # of PERIODS
MAX_CAUSES = 50
MAX_SAMPLE = 20
# Of a page: anybody who knows our account can make the worker wait with its diagnoses.
MAX_EXPLAIN_SECONDS = 0.5


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


def refusal_causes(
    connection: Connection, now: datetime, valid_ids: Sequence[int]
) -> tuple[RefusalCause, ...]:
    """Read the causes: those for our account first, then by frequency.

    `valid_ids` are the refusals that a replay would apply today, whatever their diagnosis.
    """
    rows = connection.execute(_select_causes(now, valid_ids)).all()
    causes = (
        cause for row in rows for cause in _diagnose(connection, RefusalCause(*row), now, valid_ids)
    )
    weight = attrgetter("is_plausible", "hour", "day", "week", "newest_at")
    return tuple(sorted(_merge(causes), key=weight, reverse=True))


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


def current_diagnosis(refusal: StoredRefusal) -> Diagnosis:
    """The stored diagnosis; found now if there is none or a replay would apply the refusal.

    It stays unknown when the page has taken MAX_EXPLAIN_SECONDS for others.
    """
    if refusal.replayed_at or (refusal.diagnosis and not is_applicable(refusal)):
        return read_diagnosis(refusal)
    seconds = g.get("explain_seconds", 0.0)
    if seconds > MAX_EXPLAIN_SECONDS:
        return read_diagnosis(refusal)
    started = monotonic()
    diagnosis = diagnose_request(RefusedRequest.from_row(refusal), current_carrier().signatures)
    g.explain_seconds = seconds + monotonic() - started
    return diagnosis


def _diagnose(
    connection: Connection, cause: RefusalCause, now: datetime, valid_ids: Sequence[int]
) -> Sequence[RefusalCause]:
    """Diagnose a few refusals for our account that have no diagnosis yet, the signed ones first.

    The others are taken for refusals of one cause: one that proves them Twilio's, if there is any.
    """
    if cause.diagnosis or not cause.is_plausible:
        return [cause]
    sample = (
        select(*RefusedCallback.__table__.columns, *_counts(now))
        .where(
            RefusedCallback.is_plausible,
            RefusedCallback.reason == cause.reason,
            RefusedCallback.diagnosis.is_(None),
            RefusedCallback.replayed_at.is_(None),
            is_within(RefusedCallback.last_at, now, WEEK),
            RefusedCallback.id.not_in(valid_ids),
        )
        .order_by(RefusedCallback.signature.is_not(None).desc(), RefusedCallback.id.desc())
        .limit(MAX_SAMPLE)
    )
    causes = [_read_cause(refusal) for refusal in connection.execute(sample).all()]
    likely = max(causes, key=attrgetter("is_proven"), default=cause)
    rest = {name: getattr(cause, name) - sum(map(attrgetter(name), causes)) for name in COUNTS}
    return [*causes, replace(likely, **rest)] if rest["week"] > 0 else causes


def _read_cause(refusal: Row[tuple[object, ...]]) -> RefusalCause:
    sentence, setting = current_diagnosis(refusal)
    counts = refusal.hour, refusal.day, refusal.week
    proven = is_proven(sentence)
    return RefusalCause(refusal.reason, sentence, setting, True, proven, *counts, refusal.last_at)


def _select_causes(now: datetime, valid_ids: Sequence[int]) -> Select[tuple[object, ...]]:
    """Count refusals that were not replayed by cause; those that are valid now have READY."""
    is_valid = RefusedCallback.id.in_(valid_ids)
    group = (
        RefusedCallback.reason,
        case((is_valid, READY), else_=RefusedCallback.diagnosis).label("current_diagnosis"),
        case((is_valid, None), else_=RefusedCallback.setting).label("current_setting"),
        RefusedCallback.is_plausible,
        or_(is_valid, RefusedCallback.is_proven).label("is_known"),
    )
    counts = [func.sum(count).label(count.name) for count in _counts(now)]
    return (
        select(*group, *counts, func.max(RefusedCallback.last_at))
        .where(is_within(RefusedCallback.last_at, now, WEEK), RefusedCallback.replayed_at.is_(None))
        .group_by(*(column.name for column in group))
        .order_by(RefusedCallback.is_plausible.desc(), func.count().desc())
        .limit(MAX_CAUSES)
    )


def _counts(now: datetime) -> list[Label[int]]:
    """How often a refusal came in 1 h, 24 h and 7 d."""
    return [
        # Of a repeated one that began before, only the last time is known.
        case(
            (is_within(RefusedCallback.first_at, now, period), RefusedCallback.count),
            (is_within(RefusedCallback.last_at, now, period), 1),
            else_=0,
        ).label(name)
        for period, name in zip(PERIODS, COUNTS, strict=True)
    ]
