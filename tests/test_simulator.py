"""The REST API of the simulated carrier, through the twilio client."""

from collections.abc import Iterator
from datetime import UTC

import pytest
import requests
from twilio.base.exceptions import TwilioRestException
from twilio.http.http_client import TwilioHttpClient
from twilio.rest import Client

from smstracker.settings.twilio import DEMO_PHONE_NUMBER
from smstracker.simulator import SCENARIOS, SimulatorServer, create_simulator, ledger
from smstracker.simulator.ledger import Ledger

SID, TOKEN, SECONDARY = "AC" + "a1" * 16, "primary-token", "secondary-token"
SERVICE = "MG" + "b2" * 16
OK = {"to": "+15005550006", "from_": "+15005550006", "body": "hello"}


@pytest.fixture
def server() -> Iterator[SimulatorServer]:
    app = create_simulator(
        account_sid=SID, auth_token=TOKEN, auth_token_secondary=SECONDARY, speed=200
    )
    with SimulatorServer(app) as server:
        yield server


@pytest.fixture
def client(server: SimulatorServer) -> Client:
    return make_client(server)


def make_client(server: SimulatorServer, sid: str = SID, token: str = TOKEN) -> Client:
    client = Client(sid, token, http_client=TwilioHttpClient(timeout=30))
    client.api.base_url = server.url
    return client


def refusal(call, *args, **kwargs) -> tuple[int, int]:
    with pytest.raises(TwilioRestException) as caught:
        call(*args, **kwargs)
    return caught.value.status, caught.value.code


# -- create and fetch --------------------------------------------------------------------------


def test_create_answers_queued_with_the_fields_and_types_of_twilio(client):
    message = client.messages.create(**OK)
    raw = requests.get(f"{client.api.base_url}{message.uri}", auth=(SID, TOKEN), timeout=30).json()
    assert message.sid[:2] == "SM"
    assert len(message.sid) == 34
    assert message.sid[2:] == f"{int(message.sid[2:], 16):032x}"
    assert (message.status, message.direction) == ("queued", "outbound-api")
    assert (message.to, message.from_, message.body) == (OK["to"], OK["from_"], "hello")
    assert (message.num_segments, message.num_media) == ("1", "0")
    assert (message.price, message.price_unit, message.date_sent) == (None, "USD", None)
    assert (message.error_code, message.error_message) == (None, None)
    assert (message.account_sid, message.api_version) == (SID, "2010-04-01")
    assert message.messaging_service_sid is None
    assert message.date_created.tzinfo is UTC
    assert raw["date_created"].endswith(" +0000")
    assert raw["uri"] == f"/2010-04-01/Accounts/{SID}/Messages/{message.sid}.json"
    assert raw["subresource_uris"]["media"].endswith(f"/{message.sid}/Media.json")


def test_fetch_tells_the_price_and_the_sending_date_once_delivered(client, server):
    sid = client.messages.create(**{**OK, "body": "x" * 161}).sid
    assert server.ledger.wait_until_idle(30)
    message = client.messages(sid).fetch()
    assert (message.status, message.num_segments) == ("delivered", "2")
    assert (message.price, message.price_unit) == ("-0.01580", "USD")
    assert message.date_created <= message.date_sent <= message.date_updated


def test_create_with_a_service_is_accepted_and_knows_no_sender_yet(client, server):
    message = client.messages.create(to=OK["to"], body="hi", messaging_service_sid=SERVICE)
    assert (message.status, message.from_, message.num_segments) == ("accepted", None, "0")
    assert message.messaging_service_sid == SERVICE
    assert server.ledger.wait_until_idle(30)
    message = client.messages(message.sid).fetch()
    assert (message.status, message.num_segments) == ("delivered", "1")
    assert message.from_.startswith("+1500555")


def test_create_with_pictures_makes_an_mms(client):
    urls = [f"https://example.org/{n}.png" for n in range(10)]
    message = client.messages.create(to=OK["to"], from_=OK["from_"], media_url=urls)
    assert message.sid.startswith("MM")
    assert (message.num_media, message.num_segments, message.body) == ("10", "1", "")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"to": ""}, 21604),
        ({"to": "5550006"}, 21211),
        ({"to": "+1500"}, 21211),
        ({"to": "+15005550001"}, 21211),
        ({"to": "+15005550004"}, 21610),
        ({"from_": ""}, 21603),
        ({"from_": "+1"}, 21212),
        ({"body": ""}, 21602),
        ({"body": "x" * 1601}, 21617),
        ({"media_url": ["https://example.org/a.png"] * 11}, 21623),
        ({"media_url": ["a.png"]}, 21620),
        ({"messaging_service_sid": "MG1"}, 21705),
        ({"status_callback": "example.org/x"}, 21609),
        ({"status_callback": "ftp://example.org/x"}, 21609),
        ({"status_callback": "https://under_score.example/x"}, 21609),
        ({"status_callback": "https://example.org:99999/x"}, 21609),
        ({"status_callback": "https://example.org/" + "x" * 4000}, 21609),
        ({"status_callback": "https://example.org/x#rc=6"}, 21609),
        ({"status_callback": "https://example.org/x#rp=3xx"}, 21609),
        ({"status_callback": "https://example.org/x#ct=99"}, 21609),
        ({"status_callback": "https://example.org/x#retries=1"}, 21609),
    ],
)
def test_create_is_refused_with_the_code_of_twilio(client, server, changes, code):
    assert refusal(client.messages.create, **{**OK, **changes}) == (400, code)
    assert server.ledger.messages() == []


def test_create_takes_every_known_connection_override(client):
    url = "https://example.org/x?a=1#rc=0&rp=4xx,5xx,ct,rt,all&ct=100&rt=15000&tt=15000&e=ashburn&sni=y"
    assert client.messages.create(**{**OK, "to": "+15005550104"}, status_callback=url).sid


def test_rate_limited_create_says_when_to_come_back(client, server):
    assert refusal(client.messages.create, **{**OK, "to": "+15005550109"}) == (429, 20429)
    url = f"{server.url}/2010-04-01/Accounts/{SID}/Messages.json"
    form = {"To": "+15005550109", "From": OK["from_"], "Body": "x"}
    answer = requests.post(url, form, auth=(SID, TOKEN), timeout=30)
    assert int(answer.headers["Retry-After"]) > 0


def test_server_error_scenario_creates_nothing(client, server):
    assert refusal(client.messages.create, **{**OK, "to": "+15005550112"}) == (500, 20500)
    assert server.ledger.messages() == []


# -- errors and authentication -----------------------------------------------------------------


def test_credentials_are_checked_and_either_token_opens_the_account(client, server):
    assert client.api.accounts(SID).fetch().status == "active"
    assert make_client(server, token=SECONDARY).api.accounts(SID).fetch().sid == SID
    other = "AC" + "0" * 32
    for stranger in (make_client(server, token="wrong"), make_client(server, sid=other)):
        assert refusal(stranger.api.accounts(stranger.username).fetch) == (401, 20003)
        assert refusal(stranger.messages.create, **OK) == (401, 20003)
    assert refusal(client.api.accounts(other).fetch) == (401, 20003)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, 20404),
        ("GET", f"/2010-04-01/Accounts/{SID}/Calls.json", 404, 20404),
        ("GET", f"/2010-04-01/Accounts/{SID}/Messages/SM0.json", 404, 20404),
        ("PUT", f"/2010-04-01/Accounts/{SID}/Messages.json", 405, 20004),
    ],
)
def test_errors_have_the_body_of_twilio(server, method, path, status, code):
    answer = requests.request(method, server.url + path, auth=(SID, TOKEN), timeout=30)
    body = answer.json()
    assert (answer.status_code, body["status"], body["code"]) == (status, status, code)
    assert body["more_info"] == f"https://www.twilio.com/docs/errors/{code}"
    assert body["message"]


def test_an_oversized_request_is_refused(server):
    url = f"{server.url}/2010-04-01/Accounts/{SID}/Messages.json"
    answer = requests.post(url, {"Body": "x" * 1_000_001}, auth=(SID, TOKEN), timeout=30)
    assert (answer.status_code, answer.json()["code"]) == (413, 20413)


# -- ledger and scenarios -------------------------------------------------------------------------


def test_a_message_without_a_callback_url_goes_its_way_in_silence(client, server):
    sid = client.messages.create(**OK).sid
    assert server.ledger.wait_until_idle(30)
    assert server.ledger.get(sid).status == "delivered"
    assert server.ledger.attempts() == []


def test_ledger_keeps_the_newest_messages_only(client, server, monkeypatch):
    for n in range(3):
        client.messages.create(**{**OK, "body": str(n)})
    assert server.ledger.wait_until_idle(30)
    monkeypatch.setattr(ledger, "MAX_MESSAGES", 2)
    small = Ledger()
    for message in server.ledger.messages():
        small.add(message)
    assert [message.body for message in small.messages()] == ["1", "2"]


def test_every_scenario_is_unique_and_explained():
    assert len({scenario.number for scenario in SCENARIOS}) == len(SCENARIOS) == 24
    assert len({scenario.title for scenario in SCENARIOS}) == len(SCENARIOS)
    assert all(scenario.description.endswith(".") for scenario in SCENARIOS)
    senders = {DEMO_PHONE_NUMBER, ledger.POOL_SENDER}
    assert not senders & {scenario.number for scenario in SCENARIOS}, "sent to itself"
    assert len(senders) == 2
