"""What the simulated carrier does when things are to go wrong, over real HTTP."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import requests
from twilio.http.http_client import TwilioHttpClient
from twilio.rest import Client

from smstracker.simulator import Faults, SimulatorServer, create_simulator
from smstracker.simulator.scenarios import SigningKey
from tests.callback_receiver import Receiver, receiving

SID, TOKEN, FORMER = "AC" + "a1" * 16, "primary-token", "former-token"
SENT_ONLY, DOUBLED, EARLY = "+15005550100", "+15005550102", "+15005550108"
ALWAYS = 1.0

Send = Callable[..., str]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@contextmanager
def carrier(
    receiver: Receiver, speed: float = 200, **shares: float
) -> Iterator[tuple[SimulatorServer, Send]]:
    """A carrier with these mishaps, and how to send with it."""
    app = create_simulator(
        account_sid=SID,
        auth_token=TOKEN,
        auth_token_former=FORMER,
        speed=speed,
        mishaps=Faults(**shares),
    )
    with SimulatorServer(app) as server:
        client = Client(SID, TOKEN, http_client=TwilioHttpClient(timeout=5))
        client.api.base_url = server.url

        def send(to: str = "+15005550006", **fields: str) -> str:
            where = {"from_": "+15005550010", "status_callback": f"{receiver.url}/cb"}
            return client.messages.create(to, body="hello", **{**where, **fields}).sid

        yield server, send


def test_lost_callbacks_are_never_posted_and_not_waited_for(receiver):
    with carrier(receiver, lost=ALWAYS) as (server, send):
        sid = send()
        assert server.books.wait_until_idle(5)
        assert (receiver.received, server.books.attempts()) == ([], [])
        assert server.books.get(sid).status == "delivered"


def test_doubled_callbacks_repeat_the_same_event(receiver):
    with carrier(receiver, doubled=ALWAYS) as (server, send):
        sid = send()
        assert server.books.wait_until_idle(5)
        assert receiver.statuses(sid) == ["sent", "sent", "delivered", "delivered"]
        assert len({each.token for each in receiver.received}) == 2
        assert len(server.books.attempts(sid)) == 4


@pytest.mark.parametrize(
    ("number", "callbacks"),
    [
        ("+15005550006", ["delivered", "sent"]),
        (EARLY, ["delivered", "sent"]),
        (SENT_ONLY, ["sent"]),
        (DOUBLED, ["delivered", "delivered", "sent", "sent"]),
    ],
)
def test_swapped_callback_comes_after_the_next_one_or_at_the_end(receiver, number, callbacks):
    with carrier(receiver, swapped=ALWAYS) as (server, send):
        sid = send(number)
        assert server.books.wait_until_idle(5)
        assert receiver.statuses(sid) == callbacks


def test_swapped_callback_is_posted_when_its_message_is_deleted(receiver):
    with carrier(receiver, speed=10, swapped=ALWAYS) as (server, send):
        sid = send("+15005550110")
        url = f"{server.url}/2010-04-01/Accounts/{SID}/Messages/{sid}.json"
        # Refused until the message has failed; its delivery is then still to come.
        while requests.delete(url, auth=(SID, TOKEN), timeout=5).status_code != 204:
            pass
        assert server.books.wait_until_idle(5)
        assert receiver.statuses(sid) == ["failed"]


@pytest.mark.parametrize(
    ("number", "lies"),
    [("+15005550006", ["undelivered"] * 2), (SENT_ONLY, ["delivered"])],
)
def test_forged_callback_lies_and_verifies_with_no_token(receiver, number, lies):
    with carrier(receiver, forged=ALWAYS) as (server, send):
        sid = send(number)
        assert server.books.wait_until_idle(5)
        forged = [a for a in server.books.attempts(sid) if a.signed_with is SigningKey.WRONG]
        assert [attempt.status for attempt in forged] == lies
        tokens = {attempt.idempotency_token for attempt in forged}
        received = [each for each in receiver.received if each.token in tokens]
        assert not any(each.is_signed_with(t) for each in received for t in (TOKEN, FORMER))
        assert len(server.books.attempts(sid)) == 2 * len(lies)
        assert server.books.get(sid).status not in lies


def test_old_token_signs_in_place_of_the_present_one(receiver):
    with carrier(receiver, old_token=ALWAYS) as (server, send):
        sid = send()
        assert server.books.wait_until_idle(5)
        assert [each.is_signed_with(FORMER) for each in receiver.received] == [True, True]
        assert [each.is_signed_with(TOKEN) for each in receiver.received] == [False, False]
        assert {a.signed_with for a in server.books.attempts(sid)} == {SigningKey.FORMER}


def test_lost_answer_breaks_the_connection_but_the_message_goes_its_way(receiver):
    with carrier(receiver, answer_lost=ALWAYS) as (server, send):
        with pytest.raises(requests.ConnectionError):
            send()
        assert server.books.wait_until_idle(5)
        (message,) = server.books.messages()
        assert receiver.statuses(message.sid) == ["sent", "delivered"]


def test_mishaps_together_strike_about_as_often_as_asked_and_leave_nothing_owed(receiver):
    shares = {"lost": 0.2, "doubled": 0.2, "swapped": 0.3, "forged": 0.1, "old_token": 0.1}
    with carrier(receiver, **shares, seed=7) as (server, send):
        sids = [send() for _ in range(100)]
        assert server.books.wait_until_idle(20)
        attempts = server.books.attempts()
        assert len(receiver.received) == len(attempts)
        keys = [attempt.signed_with for attempt in attempts]
        assert 5 <= keys.count(SigningKey.WRONG) <= 45
        assert 5 <= keys.count(SigningKey.FORMER) <= 45
        assert (
            len({a.idempotency_token for a in attempts if a.signed_with is not SigningKey.WRONG})
            < 190
        )
        assert {server.books.get(sid).status for sid in sids} == {"delivered"}


def test_a_share_is_between_0_and_1():
    with pytest.raises(ValueError, match="not between 0 and 1: lost, forged"):
        Faults(lost=1.1, forged=-0.1, seed=12)
