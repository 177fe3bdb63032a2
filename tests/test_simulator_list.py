"""The simulated carrier as twilio's own client sees it: listing."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
import requests
from twilio.http.http_client import TwilioHttpClient
from twilio.rest import Client

from smstracker.simulator import SimulatorServer, create_simulator
from smstracker.simulator.ledger import Ledger

SID, TOKEN = "AC" + "a1" * 16, "primary-token"
SERVICE = "MG" + "b2" * 16
OK = {"to": "+15005550006", "from_": "+15005550006", "body": "hello"}


@pytest.fixture
def server() -> Iterator[SimulatorServer]:
    app = create_simulator(account_sid=SID, auth_token=TOKEN, speed=200)
    with SimulatorServer(app) as server:
        yield server


@pytest.fixture
def client(server: SimulatorServer) -> Client:
    return make_client(server)


def make_client(server: SimulatorServer) -> Client:
    client = Client(SID, TOKEN, http_client=TwilioHttpClient(timeout=30))
    client.api.base_url = server.url
    return client


def test_list_pages_through_all_messages_newest_first(client):
    sids = [client.messages.create(**{**OK, "body": str(n)}).sid for n in range(7)]
    assert [m.sid for m in client.messages.list(page_size=3)] == sids[::-1]
    assert [m.sid for m in client.messages.stream(page_size=2, limit=5)] == sids[:1:-1]


def test_list_pages_stay_put_while_new_messages_come(client, server):
    sids = [client.messages.create(**OK).sid for _ in range(6)]
    first = client.messages.page(page_size=2)
    assert [m.sid for m in first] == [sids[5], sids[4]]
    assert server.ledger.wait_until_idle(30)
    client.messages.create(**OK)
    second = first.next_page()
    assert [m.sid for m in second] == [sids[3], sids[2]]
    third = second.next_page()
    assert [m.sid for m in third] == [sids[1], sids[0]]
    assert third.next_page_url is None


def test_list_page_has_fifty_messages_unless_asked_and_a_thousand_at_most(client, server):
    client.messages.create(**OK)
    url = f"{server.url}/2010-04-01/Accounts/{SID}/Messages.json"
    sizes = {None: 50, 7: 7, 5000: 1000}
    for asked, given in sizes.items():
        page = requests.get(url, {"PageSize": asked}, auth=(SID, TOKEN), timeout=30).json()
        assert (page["page_size"], page["next_page_uri"]) == (given, None)
    for wrong in ({"PageSize": "x"}, {"PageToken": "PASM0"}, {"DateSent>": "soon"}):
        answer = requests.get(url, wrong, auth=(SID, TOKEN), timeout=30)
        assert (answer.status_code, answer.json()["code"]) == (400, 20001)


def test_list_filters_by_recipient_on_each_page(client):
    first = client.messages.create(to="+15005550104", from_="+15005550010", body="1")
    client.messages.create(to="+15005550006", from_="+15005550010", body="2")
    third = client.messages.create(to="+15005550104", from_="Clinic", body="3")
    found = client.messages.list(to="+15005550104", page_size=1)
    assert [m.sid for m in found] == [third.sid, first.sid]


def test_list_by_date_finds_what_was_sent_since_and_never_what_is_unsent(client, server):
    noon = datetime(2026, 5, 4, 12, tzinfo=UTC)
    sids = [client.messages.create(**OK).sid for _ in range(4)]
    assert server.ledger.wait_until_idle(30)
    # Half a second past: the API shows whole seconds, and filters by them.
    for sid, day in zip(sids, (-1, 0, 1), strict=False):
        set_sent_at(server.ledger, sid, noon + timedelta(days=day, milliseconds=500))
    set_sent_at(server.ledger, sids[3], None)

    def found(**filters: object) -> list[str]:
        return [m.sid for m in client.messages.list(**filters)][::-1]

    assert found(date_sent_after=noon) == found(date_sent_after="2026-05-04") == sids[1:3]
    assert found(date_sent_after=date(2026, 5, 4)) == sids[1:3]
    assert found(date_sent_after=noon + timedelta(seconds=1)) == sids[2:3]
    assert found() == sids


def set_sent_at(ledger: Ledger, sid: str, sent_at: datetime | None) -> None:
    """Replace a message of the ledger by a copy that was sent at `sent_at`."""
    message = ledger.get(sid)
    assert message is not None
    ledger.add(replace(message, sent_at=sent_at))
