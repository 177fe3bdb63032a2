"""Why something was refused, also where nobody has written it down yet. Stores nothing."""

from typing import Any

from sqlalchemy.engine import Connection

from smstracker.carrier import current_carrier
from smstracker.connection import queries
from smstracker.extensions import settings
from smstracker.webhooks.diagnosis import explain, is_proven
from smstracker.webhooks.evidence import Evidence

Diagnosis = tuple[str | None, str | None]


def diagnosis_of(refusal: Any) -> Diagnosis:
    """The sentence and the setting of a stored refusal, found now if it has none."""
    if refusal.diagnosis or refusal.replayed_at:
        return refusal.diagnosis, refusal.setting
    return explain(Evidence.of(refusal), settings(), current_carrier().signatures)


def diagnosis_of_sample(connection: Connection, reason: str) -> Diagnosis:
    """What is behind some likely refusals that nobody has explained yet, a proven one if any is.

    It stands for the others of its kind until they are explained one by one.
    """
    sample = connection.execute(queries.unexplained(reason)).all()
    found = [diagnosis_of(refusal) for refusal in sample]
    proven = [one for one in found if is_proven(one[0])]
    return next(iter(proven + found), (None, None))
