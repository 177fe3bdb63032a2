"""Explanations of network and mail errors, by the class name of the error, which is stored."""

from typing import NamedTuple


class ServerProblem(NamedTuple):
    """Why a server cannot be used, and what to do; both are clauses of a sentence."""

    reason: str
    fix: str


# Reasons that apply to any server.
NETWORK_REASONS = {
    "gaierror": "its name cannot be resolved",
    "UnicodeError": "its name is not valid in DNS",
    "ConnectionRefusedError": "nothing listens on that port",
    "TimeoutError": "it does not answer in time",
    "ConnectionResetError": "it hung up",
    "BrokenPipeError": "it hung up",
    "RemoteDisconnected": "it hung up",
    "BadStatusLine": "what answers there is not a web server",
    "SSLError": "TLS fails there",
    "SSLEOFError": "TLS fails there",
    "SSLCertVerificationError": "its certificate does not verify",
}
UNREACHABLE = "it cannot be reached from here"

CHECK_TLS = "check MAIL_USE_TLS, MAIL_USE_SSL and MAIL_PORT"
MAIL_PROBLEMS = {
    "gaierror": ServerProblem(NETWORK_REASONS["gaierror"], "check MAIL_SERVER"),
    "ConnectionRefusedError": ServerProblem(
        NETWORK_REASONS["ConnectionRefusedError"], "check MAIL_PORT"
    ),
    "TimeoutError": ServerProblem(
        NETWORK_REASONS["TimeoutError"], "check MAIL_PORT, and whether a firewall is in between"
    ),
    "SSLCertVerificationError": ServerProblem(
        NETWORK_REASONS["SSLCertVerificationError"],
        "MAIL_SERVER has to be the name that is in the server's certificate",
    ),
    "SSLError": ServerProblem(NETWORK_REASONS["SSLError"], CHECK_TLS),
    "SSLEOFError": ServerProblem(NETWORK_REASONS["SSLEOFError"], CHECK_TLS),
    "SMTPServerDisconnected": ServerProblem(
        "it hung up: it may not be a mail server", "check MAIL_PORT"
    ),
    "SMTPConnectError": ServerProblem(
        "it turns this machine away", "see the log of the mail server"
    ),
    "SMTPHeloError": ServerProblem("it turns this machine away", "see the log of the mail server"),
    "SMTPNotSupportedError": ServerProblem(
        "it does not offer the encryption or the login that is set", CHECK_TLS
    ),
    "SMTPAuthenticationError": ServerProblem(
        "it does not accept user and password", "check MAIL_USERNAME and MAIL_PASSWORD"
    ),
    "SMTPSenderRefused": ServerProblem(
        "it refuses the sender",
        "check MAIL_DEFAULT_SENDER: the server refuses mail from that address",
    ),
    "SMTPAuthenticationRequired": ServerProblem(
        "it requires encryption or a login", "set MAIL_USE_TLS, or MAIL_USERNAME and MAIL_PASSWORD"
    ),
    "SMTPRecipientsRefused": ServerProblem("it refuses the recipient", "check the address"),
    "SMTPDataError": ServerProblem("it refuses the text", "see the log of the mail server"),
    "UnicodeEncodeError": ServerProblem(
        "user or password has a character that cannot be sent", "check MAIL_PASSWORD"
    ),
}


def network_reason(error: BaseException) -> str:
    """The reason why a server was not reached."""
    names = (kind.__name__ for kind in type(error).__mro__)
    return next((NETWORK_REASONS[name] for name in names if name in NETWORK_REASONS), UNREACHABLE)


def explain_mail_error(error_name: str) -> ServerProblem:
    """The reason why a mail server cannot be used, and the setting to check."""
    reason = NETWORK_REASONS.get(error_name, UNREACHABLE)
    return MAIL_PROBLEMS.get(error_name, ServerProblem(reason, "check MAIL_SERVER and MAIL_PORT"))
