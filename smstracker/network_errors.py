"""Explanations of network and mail errors, by the class name of the error, which is stored.

Data in network_errors.toml.
"""

import tomllib
from pathlib import Path
from typing import NamedTuple


class ServerProblem(NamedTuple):
    """Why a server cannot be used, and what to do; both are clauses of a sentence."""

    reason: str
    fix: str


_tables = tomllib.loads(Path(__file__).with_name("network_errors.toml").read_text("utf-8"))
NETWORK_REASONS: dict[str, str] = _tables["network"]
TEMPORARY = "SMTPTemporaryRefusal"  # the name of a reply 4xx, with its code behind it
WAIT_FOR_MAIL = "try again in some minutes; if that lasts, see the log of the mail server"
UNREACHABLE = "it cannot be reached from here"


def first_cause(error: BaseException) -> BaseException:
    """The error that a library has wrapped in others."""
    # Causes may form a ring; of contexts, Python makes none.
    while error.__context__ is not None:
        error = error.__context__
    return error


def network_reason(error: BaseException) -> str:
    """The reason why a server was not reached."""
    names = (kind.__name__ for kind in type(first_cause(error)).__mro__)
    return next((NETWORK_REASONS[name] for name in names if name in NETWORK_REASONS), UNREACHABLE)


def is_temporary(error_name: str) -> bool:
    """Whether a mail server that failed so asks to try again later."""
    return error_name.startswith(TEMPORARY)


def explain_mail_error(error_name: str) -> ServerProblem:
    """The reason why a mail server cannot be used, and the setting to check."""
    if is_temporary(error_name):
        code = error_name.rpartition(" ")[2]
        return ServerProblem(f"it takes no mail for now (reply {code})", WAIT_FOR_MAIL)
    entry = _tables["mail"].get(error_name, {})
    reason = entry.get("reason") or NETWORK_REASONS.get(error_name, UNREACHABLE)
    return ServerProblem(reason, entry.get("fix", "check MAIL_SERVER and MAIL_PORT"))
