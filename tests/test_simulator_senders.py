"""The simulated carrier as twilio's own client sees it: senders, and how often one may ask."""

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import requests
from twilio.base.exceptions import TwilioRestException
from twilio.http.http_client import TwilioHttpClient
from twilio.rest import Client

from smstracker.simulator import SimulatorServer, access, create_simulator
from smstracker.simulator.access import LookupLimit

SID, TOKEN = "AC" + "a1" * 16, "primary-token"
SERVICE = "MG" + "b2" * 16
OWNED = ("+15005550006", "+15005550010")


@pytest.fixture
def server() -> Iterator[SimulatorServer]:
    app = create_simulator(
        account_sid=SID, auth_token=TOKEN, phone_numbers=OWNED, speed=200, lookups_per_second=2
    )
    with SimulatorServer(app) as server:
        yield server


def make_client(server: SimulatorServer, token: str = TOKEN) -> Client:
    client = Client(SID, token, http_client=TwilioHttpClient(timeout=30))
    client.api.base_url = client.messaging.base_url = server.url
    return client


@pytest.fixture
def client(server: SimulatorServer) -> Client:
    return make_client(server)


def refusal(call, *args, **kwargs) -> tuple[int, int]:
    with pytest.raises(TwilioRestException) as caught:
        call(*args, **kwargs)
    return caught.value.status, caught.value.code


def test_an_owned_number_is_found_with_what_it_can_do(client):
    [number] = client.incoming_phone_numbers.list(phone_number=OWNED[1])
    assert number.phone_number == OWNED[1]
    assert number.capabilities == {"sms": True, "mms": True, "voice": False, "fax": False}


def test_numbers_of_others_are_not_found(client):
    assert client.incoming_phone_numbers.list(phone_number="+15005550011") == []
    assert [n.phone_number for n in client.incoming_phone_numbers.list()] == list(OWNED)


def test_a_well_formed_service_exists(client):
    service = client.messaging.v1.services(SERVICE).fetch()
    assert service.sid == SERVICE
    assert refusal(client.messaging.v1.services("MG1").fetch) == (404, 20404)


def test_senders_are_shown_to_the_account_only(server):
    stranger = make_client(server, token="wrong")
    assert refusal(stranger.messaging.v1.services(SERVICE).fetch) == (401, 20003)
    url = f"{server.url}/2010-04-01/Accounts/{SID}/IncomingPhoneNumbers.json"
    assert requests.get(url, auth=(SID, "wrong"), timeout=30).status_code == 401


# -- the limit of look-ups ---------------------------------------------------------------------


def test_too_many_lookups_in_a_second_are_refused_and_creates_are_not(server, client):
    sids = [client.messages.create(OWNED[0], from_=OWNED[0], body="x").sid for _ in range(3)]
    client.messages(sids[0]).fetch()
    client.messages.list()
    assert refusal(client.messages(sids[0]).fetch) == (429, 20429)
    url = f"{server.url}/2010-04-01/Accounts/{SID}/Messages.json"
    answer = requests.get(url, auth=(SID, TOKEN), timeout=30)
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "1")
    assert client.messages.create(OWNED[0], from_=OWNED[0], body="x").sid
    assert client.api.accounts(SID).fetch().sid == SID


def test_lookup_limit_slides(monkeypatch):
    moments = iter([0.0, 0.5, 0.9, 1.0, 1.1, 1.5])
    monkeypatch.setattr(access, "time", SimpleNamespace(monotonic=lambda: next(moments)))
    limit = LookupLimit(2)
    assert [limit.admits() for _ in range(6)] == [True, True, False, True, False, True]
