"""The tables, the questions about them (selects) and their state changes. Nothing here commits."""

from smstracker.messages.text_index import message_text
from smstracker.models.callback_counts import CallbackTally
from smstracker.models.events import StatusEvent
from smstracker.models.insight_rollups import (
    InsightChange,
    InsightCursor,
    InsightSpan,
    InsightTally,
)
from smstracker.models.lookup_queue import Chore, Heartbeat
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
    "Chore",
    "Heartbeat",
    "InsightChange",
    "InsightCursor",
    "InsightSpan",
    "InsightTally",
    "MailHealth",
    "Message",
    "RateLimit",
    "RecipientSearch",
    "RefusedCallback",
    "SendLimitError",
    "SignInToken",
    "StatusEvent",
    "User",
    "UserSession",
    "message_text",
]
