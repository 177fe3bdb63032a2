"""Where Twilio is asked: an address that is set stays so, Twilio's own has edge and region."""

import re
from collections.abc import Callable

import pytest
import responses
from flask import Flask

from smstracker.carrier import current_carrier
from smstracker.carrier.errors import CarrierQueryError
from smstracker.settings.addresses import TWILIO_API
from tests.clients import Person
from tests.signing import sid
from tests.twilio_stub import created, wire

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

MakeApp = Callable[..., Flask]


@pytest.fixture
def edge(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the environment, where Twilio's client looks by itself."""
    monkeypatch.setenv("TWILIO_EDGE", "dublin")
    monkeypatch.setenv("TWILIO_REGION", "ie1")


def hosts(app: Flask) -> list[str]:
    """The hosts that are asked for a message and for a Messaging Service."""
    with responses.RequestsMock() as twilio, app.app_context():
        for product in ("api", "messaging"):
            address = re.compile(rf"https://{product}\..*twilio\.com/.*")
            twilio.add(responses.GET, address, status=404, json={"code": 20404})
        for ask in (
            lambda: current_carrier().fetch(sid(1)),
            lambda: current_carrier().require_messaging_service("MG" + "a" * 32),
        ):
            with pytest.raises(CarrierQueryError):
                ask()
        return [str(call.request.url).split("/")[2] for call in twilio.calls]


@pytest.mark.usefixtures("edge")
def test_address_that_is_set_is_not_rewritten(make_app: MakeApp) -> None:
    with wire(created(sid(1))) as twilio:
        alice = Person.signed_in(make_app(TWILIO_API_BASE_URL=twilio.url), "alice@example.org")
        alice.send()
    assert [message.status for message in alice.messages()] == ["queued"]


def test_twilios_own_address_has_edge_and_region(make_app: MakeApp) -> None:
    app = make_app(TWILIO_API_BASE_URL="", TWILIO_EDGE="dublin", TWILIO_REGION="ie1")
    assert hosts(app) == ["api.dublin.ie1.twilio.com", "messaging.dublin.ie1.twilio.com"]


@pytest.mark.usefixtures("edge")
def test_twilios_own_address_is_kept_if_it_is_set(make_app: MakeApp) -> None:
    app = make_app(TWILIO_API_BASE_URL=TWILIO_API)
    assert hosts(app) == ["api.twilio.com", "messaging.twilio.com"]
