"""The one place that learns of each export and erasure of a person, by page and by command."""

import logging
from enum import StrEnum

log = logging.getLogger(__name__)


class PersonalAction(StrEnum):
    EXPORT = "person_exported"
    ERASURE = "person_erased"


def record_personal_action(action: PersonalAction, receipt: str | None = None) -> None:
    """Log that a person was exported or erased; never who it was."""
    log.info(action, extra={"reason": receipt})
