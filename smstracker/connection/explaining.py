"""Why something was refused, also where nobody has written it down yet. Stores nothing."""

from typing import Any

from sqlalchemy.engine import Connection

from smstracker.carrier import current_carrier
from smstracker.connection import queries
from smstracker.extensions import settings
from smstracker.webhooks.diagnosis import explain
from smstracker.webhooks.evidence import Evidence

Diagnosis = tuple[str | None, str | None]


def diagnosis_of(refusal: Any) -> Diagnosis:
    """The sentence and the setting of a stored refusal, found now if it has none."""
    if refusal.diagnosis or refusal.replayed_at:
        return refusal.diagnosis, refusal.setting
    return explain(Evidence.of(refusal), settings(), current_carrier().signatures)


def diagnosis_of_newest(connection: Connection, reason: str) -> Diagnosis:
    """What is behind the newest likely refusal that nobody has explained yet.

    It stands for the others of its kind until they are explained one by one.
    """
    newest = connection.execute(queries.newest_unexplained(reason)).first()
    return diagnosis_of(newest) if newest else (None, None)
