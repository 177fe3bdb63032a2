"""Why this app itself does not send a message that waited here; stop_reasons.toml explains them."""

from enum import StrEnum


class StopReason(StrEnum):
    """Stored in the place of an error code of Twilio's."""

    OPTED_OUT = "opted-out"
    NO_ACCESS = "no-access"
    SENDER_REMOVED = "sender-removed"
    OTHER_ACCOUNT = "other-account"
    TOO_LATE = "too-late"
    TEXT_DELETED = "text-deleted"
    UNFILLED_FIELD = "unfilled-field"
