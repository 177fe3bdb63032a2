"""The sender of a request: one of this installation, and one that the token allows."""

from smstracker.api import problem_kinds
from smstracker.messages.senders import offered_senders
from smstracker.models.api_tokens import TokenRights
from smstracker.web.problem_details import ProblemError


def choose_sender(sender: object, rights: TokenRights) -> str:
    """The sender that is asked for; if that is None, the first that the token allows.

    Raises ValueError, whose text is for who wrote the program.
    """
    offered = offered_senders()
    if sender is None:
        return next(filter(rights.allows_sender, offered), offered[0])
    if not isinstance(sender, str) or sender not in offered:
        raise ValueError(f"This app does not send from that. Use one of {', '.join(offered)}.")
    return sender


def check_sender(rights: TokenRights, sender: str) -> None:
    """Raise ProblemError if the token may not send from a sender of this installation."""
    if not rights.allows_sender(sender):
        detail = f"This token may not send from {sender}."
        raise ProblemError(problem_kinds.SENDER_FORBIDDEN, detail)
