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

MAIL_REASONS = NETWORK_REASONS | {
    "SMTPServerDisconnected": "it hung up: it may not be a mail server",
    "SMTPConnectError": "it turns this machine away",
    "SMTPHeloError": "it turns this machine away",
    "SMTPNotSupportedError": "it does not offer the encryption or the login that is set",
    "SMTPAuthenticationError": "it does not accept user and password",
    "SMTPSenderRefused": "it refuses the sender",
    "SMTPAuthenticationRequired": "it requires encryption or a login",
    "SMTPRecipientsRefused": "it refuses the recipient",
    "SMTPDataError": "it refuses the text",
    "UnicodeEncodeError": "user or password has a character that cannot be sent",
}
CHECK_TLS = "check MAIL_USE_TLS, MAIL_USE_SSL and MAIL_PORT"
SEE_LOG = "see the log of the mail server"
MAIL_FIXES = {
    "gaierror": "check MAIL_SERVER",
    "ConnectionRefusedError": "check MAIL_PORT",
    "TimeoutError": "check MAIL_PORT, and whether a firewall is in between",
    "SSLCertVerificationError": (
        "MAIL_SERVER has to be the name that is in the server's certificate"
    ),
    "SSLError": CHECK_TLS,
    "SSLEOFError": CHECK_TLS,
    "SMTPServerDisconnected": "check MAIL_PORT",
    "SMTPConnectError": SEE_LOG,
    "SMTPHeloError": SEE_LOG,
    "SMTPNotSupportedError": CHECK_TLS,
    "SMTPAuthenticationError": "check MAIL_USERNAME and MAIL_PASSWORD",
    "SMTPSenderRefused": "check MAIL_DEFAULT_SENDER: the server refuses mail from that address",
    "SMTPAuthenticationRequired": "set MAIL_USE_TLS, or MAIL_USERNAME and MAIL_PASSWORD",
    "SMTPRecipientsRefused": "check the address",
    "SMTPDataError": SEE_LOG,
    "UnicodeEncodeError": "check MAIL_PASSWORD",
}


def network_reason(error: BaseException) -> str:
    """The reason why a server was not reached."""
    names = (kind.__name__ for kind in type(error).__mro__)
    return next((NETWORK_REASONS[name] for name in names if name in NETWORK_REASONS), UNREACHABLE)


def explain_mail_error(error_name: str) -> ServerProblem:
    """The reason why a mail server cannot be used, and the setting to check."""
    reason = MAIL_REASONS.get(error_name, UNREACHABLE)
    return ServerProblem(reason, MAIL_FIXES.get(error_name, "check MAIL_SERVER and MAIL_PORT"))
