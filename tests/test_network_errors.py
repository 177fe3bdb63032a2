"""Why a server cannot be used: no name of a class, and the one setting that matters."""

import http.client
import socket

import pytest

from smstracker.network_errors import explain_mail_error, network_reason


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("gaierror", "its name cannot be resolved. check MAIL_SERVER"),
        (
            "TimeoutError",
            "it does not answer in time. check MAIL_PORT, and whether a firewall is in between",
        ),
        ("SMTPServerDisconnected", "it hung up: it may not be a mail server. check MAIL_PORT"),
        ("SMTPConnectError", "it turns this machine away. see the log of the mail server"),
        ("SMTPHeloError", "it turns this machine away. see the log of the mail server"),
        (
            "SMTPNotSupportedError",
            "it does not offer the encryption or the login that is set. "
            "check MAIL_USE_TLS, MAIL_USE_SSL and MAIL_PORT",
        ),
        ("SSLError", "TLS fails there. check MAIL_USE_TLS, MAIL_USE_SSL and MAIL_PORT"),
        ("SMTPAuthenticationError", "it does not accept user and password. check MAIL_USERNAME"),
        (
            "SMTPSenderRefused",
            "it refuses the sender. "
            "check MAIL_DEFAULT_SENDER: the server refuses mail from that address",
        ),
        (
            "SMTPAuthenticationRequired",
            "it requires encryption or a login. "
            "set MAIL_USE_TLS, or MAIL_USERNAME and MAIL_PASSWORD",
        ),
        ("SMTPRecipientsRefused", "it refuses the recipient. check the address"),
        ("SMTPDataError", "it refuses the text. see the log of the mail server"),
        (
            "UnicodeEncodeError",
            "user or password has a character that cannot be sent. check MAIL_PASSWORD",
        ),
        (
            "SSLCertVerificationError",
            "its certificate does not verify. "
            "MAIL_SERVER has to be the name that is in the server's certificate",
        ),
        ("ConnectionResetError", "it hung up. check MAIL_SERVER and MAIL_PORT"),
        ("OSError", "it cannot be reached from here. check MAIL_SERVER and MAIL_PORT"),
    ],
)
def test_reason_of_a_mail_server_is_said_in_words(kind: str, said: str) -> None:
    assert ". ".join(explain_mail_error(kind)).startswith(said)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (socket.gaierror(-2, "x"), "its name cannot be resolved"),
        (UnicodeEncodeError("idna", "x", 0, 1, "x"), "its name is not valid in DNS"),
        (http.client.BadStatusLine("x"), "what answers there is not a web server"),
        (http.client.RemoteDisconnected("x"), "it hung up"),
        (OSError(101, "x"), "it cannot be reached from here"),
    ],
)
def test_reason_of_a_web_server_is_said_in_words(error: Exception, said: str) -> None:
    assert network_reason(error) == said
