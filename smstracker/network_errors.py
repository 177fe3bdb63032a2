"""Why a server cannot be used, in words: by the name of the error's type, which is what is kept."""

from typing import NamedTuple


class Explanation(NamedTuple):
    reason: str
    fix: str


# What keeps any server from being reached.
NETWORK = {
    "gaierror": "its name cannot be resolved",
    "UnicodeError": "its name is none of the DNS",
    "ConnectionRefusedError": "nothing listens on that port",
    "TimeoutError": "it does not answer in time",
    "ConnectionResetError": "it hung up",
    "BrokenPipeError": "it hung up",
    "RemoteDisconnected": "it hung up",
    "BadStatusLine": "what answers there is no web server",
    "SSLError": "TLS fails there",
    "SSLEOFError": "TLS fails there",
    "SSLCertVerificationError": "its certificate does not verify",
}
UNREACHED = "there is no way to it from here"

CHECK_TLS = "check MAIL_USE_TLS, MAIL_USE_SSL and MAIL_PORT"
MAIL = {
    "gaierror": Explanation(NETWORK["gaierror"], "check MAIL_SERVER"),
    "ConnectionRefusedError": Explanation(NETWORK["ConnectionRefusedError"], "check MAIL_PORT"),
    "TimeoutError": Explanation(
        NETWORK["TimeoutError"], "check MAIL_PORT, and whether a firewall is in between"
    ),
    "SSLCertVerificationError": Explanation(
        NETWORK["SSLCertVerificationError"],
        "MAIL_SERVER has to be the name that is in the server's certificate",
    ),
    "SSLError": Explanation(NETWORK["SSLError"], CHECK_TLS),
    "SSLEOFError": Explanation(NETWORK["SSLEOFError"], CHECK_TLS),
    "SMTPServerDisconnected": Explanation("it hung up: is this a mail server?", "check MAIL_PORT"),
    "SMTPConnectError": Explanation("it turns this machine away", "see the log of the mail server"),
    "SMTPHeloError": Explanation("it turns this machine away", "see the log of the mail server"),
    "SMTPNotSupportedError": Explanation(
        "it does not offer the encryption or the login that is set", CHECK_TLS
    ),
    "SMTPAuthenticationError": Explanation(
        "it does not accept user and password", "check MAIL_USERNAME and MAIL_PASSWORD"
    ),
    "SMTPSenderRefused": Explanation(
        "it refuses the sender",
        "check MAIL_DEFAULT_SENDER: the server takes no mail from that address",
    ),
    "SMTPAuthenticationRequired": Explanation(
        "it wants encryption or a login first",
        "set MAIL_USE_TLS, or MAIL_USERNAME and MAIL_PASSWORD: the server wants them first",
    ),
    "SMTPRecipientsRefused": Explanation("it refuses the recipient", "check the address"),
    "SMTPDataError": Explanation("it refuses the text", "see the log of the mail server"),
    "UnicodeEncodeError": Explanation(
        "user or password has a character that cannot be sent", "check MAIL_PASSWORD"
    ),
}


def network_reason(error: BaseException) -> str:
    """Why a server was not reached."""
    names = (kind.__name__ for kind in type(error).__mro__)
    return next((NETWORK[name] for name in names if name in NETWORK), UNREACHED)


def explain_mail_error(kind: str) -> Explanation:
    """Why a mail server was not used, and the setting that matters."""
    reason = NETWORK.get(kind, UNREACHED)
    return MAIL.get(kind, Explanation(reason, "check MAIL_SERVER and MAIL_PORT"))
