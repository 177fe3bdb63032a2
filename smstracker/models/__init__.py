"""The tables, the questions about them (selects) and their state changes. Nothing here commits."""

from smstracker.models.events import StatusEvent
from smstracker.models.messages import AlreadySentError, Message, SendLimitError
from smstracker.models.rate_limits import RateLimit
from smstracker.models.sign_in import SignInToken
from smstracker.models.users import User, UserSession

__all__ = [
    "AlreadySentError",
    "Message",
    "RateLimit",
    "SendLimitError",
    "SignInToken",
    "StatusEvent",
    "User",
    "UserSession",
]
