"""Tables, their selects and state changes. Nothing here commits."""

from smstracker.messages.text_index import message_text
from smstracker.models.callback_counts import CallbackTally
from smstracker.models.event_feed import FeedCursor
from smstracker.models.events import StatusEvent
from smstracker.models.insight_rollups import (
    InsightCoverage,
    InsightDelivery,
    InsightFailure,
    InsightOutcome,
    InsightRecount,
    InsightSpend,
)
from smstracker.models.jobs import Heartbeat, ScheduledJob
from smstracker.models.mail_health import MailHealth
from smstracker.models.messages import AlreadySentError, Message, SendLimitError
from smstracker.models.rate_limits import RateLimit
from smstracker.models.recipient_searches import RecipientSearch
from smstracker.models.refused_callbacks import RefusedCallback
from smstracker.models.sign_in import SignInToken
from smstracker.models.users import User, UserSession

__all__ = [
    "AlreadySentError",
    "CallbackTally",
    "FeedCursor",
    "Heartbeat",
    "InsightCoverage",
    "InsightDelivery",
    "InsightFailure",
    "InsightOutcome",
    "InsightRecount",
    "InsightSpend",
    "MailHealth",
    "Message",
    "RateLimit",
    "RecipientSearch",
    "RefusedCallback",
    "ScheduledJob",
    "SendLimitError",
    "SignInToken",
    "StatusEvent",
    "User",
    "UserSession",
    "message_text",
]
