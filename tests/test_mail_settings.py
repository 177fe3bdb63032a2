"""Settings of mail: what cannot work stops the start, and says how it is written."""

from email import message_from_bytes, policy

import pytest

from config import ConfigError
from smstracker.mailer import Mailer
from tests.live_settings import settings
from tests.smtp_server import Inbox


def sender_of(setting: str) -> list[tuple[str, str]]:
    """Name and address of each sender of a mail, as a mail program reads it."""
    mail = Mailer(settings(MAIL_DEFAULT_SENDER=setting)).compose("a@example.org", "s", "t")
    received = message_from_bytes(mail.as_bytes(), policy=policy.default)
    return [(address.display_name, address.addr_spec) for address in received["From"].addresses]


@pytest.mark.parametrize(
    ("setting", "name"),
    [
        ("sms@example.org", ""),
        ("<sms@example.org>", ""),
        ("SMS Team <sms@example.org>", "SMS Team"),
        ('"SMS Team" <sms@example.org>', "SMS Team"),
        ('"SMS \\"Team\\"" <sms@example.org>', 'SMS "Team"'),
        ('Janet "JJ" Swisher <sms@example.org>', 'Janet "JJ" Swisher'),
        ("Janet Swisher, MDN Lead <sms@example.org>", "Janet Swisher, MDN Lead"),
        ("SMS: Praxis <sms@example.org>", "SMS: Praxis"),
        ("Team (night); Dr. X <sms@example.org>", "Team (night); Dr. X"),
        ("Müller, Praxis <sms@example.org>", "Müller, Praxis"),
        ('"SMS @ work" <sms@example.org>', "SMS @ work"),
    ],
)
def test_sender_is_the_name_and_the_address_of_the_setting(setting: str, name: str) -> None:
    assert sender_of(setting) == [(name, "sms@example.org")]


@pytest.mark.parametrize("address", ["smstracker@localhost", "sms@praxis.local"])
def test_sender_may_be_in_a_private_network(address: str) -> None:
    assert sender_of(address) == [("", address)]


@pytest.mark.parametrize(
    "setting",
    [
        "smstracker",
        "@example.org",
        "sms@clinic",
        "SMS Team sms@example.org",
        "SMS Team <sms>",
        "SMS Team <>",
        "a@example.org, b@example.org",
        "a@example.org, Team <b@example.org>",
        "A <a@example.org>, B <b@example.org>",
        "SMS: a@example.org, b@example.org;",
        "SMS: Praxis <sms@example.org>;",
        '"SMS Team <sms@example.org>',
        '"SMS Team <sms@example.org>"',
        "SMS\nBcc: x <sms@example.org>",
        "SMS\udcff <sms@example.org>",
        "sms@example.org;",
    ],
)
def test_sender_that_is_not_one_address_stops_the_start(setting: str) -> None:
    with pytest.raises(ConfigError, match="MAIL_DEFAULT_SENDER: must be one address"):
        settings(MAIL_DEFAULT_SENDER=setting)


def test_mail_of_a_sender_whose_name_has_a_comma_is_taken(inbox: Inbox) -> None:
    port = str(inbox.controller.port)
    sender = "Müller, Praxis <sms@example.org>"
    config = settings(MAIL_SERVER="127.0.0.1", MAIL_PORT=port, MAIL_DEFAULT_SENDER=sender)
    Mailer(config).send("a@example.org", "s", "t")
    assert inbox.mails == [("a@example.org", "t\n")]


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1:25", "smtp.example.org:587", "[::1]:25", "[::1]", "smtp://smtp.example.org"),
        *("192.168.1.256", "192.168.1", "10.0.0.0.1", "127.1", "2130706433", "0x7f.1", "1:2:3"),
        *("192.168.01.1", "192.168.1.２５６", "smtp..example.org", "smtp.example.1"),
    ],
)
def test_mail_server_is_the_host_alone(host: str) -> None:
    sentence = (
        "MAIL_SERVER: must be only the host name or IP address.*the port belongs in MAIL_PORT"
    )
    with pytest.raises(ConfigError, match=sentence) as caught:
        settings(MAIL_SERVER=host)
    assert host not in str(caught.value)


@pytest.mark.parametrize(
    "host",
    [
        "mail_server",
        "smtp.example.org",
        "::1",
        "192.0.2.1",
        "bücher.de",
        "fe80::1%eth0",
        "1und1.de",
    ],
)
def test_mail_server_is_any_name_or_address_of_a_host(host: str) -> None:
    assert settings(MAIL_SERVER=host).mail.server == host
