"""Injected faults of the simulated carrier, over real HTTP."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import requests
from twilio.base.exceptions import TwilioRestException
from twilio.http.http_client import TwilioHttpClient
from twilio.rest import Client

from smstracker.simulator import Faults, SimulatorServer, create_simulator
from smstracker.simulator.scenarios import SigningKey
from tests.callback_receiver import CallbackReceiver, running_receiver

SID, TOKEN, FORMER = "AC" + "a1" * 16, "primary-token", "former-token"
SENT_ONLY, DOUBLED, EARLY = "+15005550100", "+15005550102", "+15005550108"
ALWAYS = 1.0

Send = Callable[..., str]


@pytest.fixture
def receiver() -> Iterator[CallbackReceiver]:
    with running_receiver() as receiver:
        yield receiver


@contextmanager
def running_carrier(
    receiver: CallbackReceiver, speed: float = 200, **shares: float
) -> Iterator[tuple[SimulatorServer, Send]]:
    """A carrier with these fault rates, and a function that sends with it."""
    app = create_simulator(
        account_sid=SID,
        auth_token=TOKEN,
        auth_token_former=FORMER,
        speed=speed,
        faults=Faults(**shares),
    )
    with SimulatorServer(app) as server:
        client = Client(SID, TOKEN, http_client=TwilioHttpClient(timeout=30))
        client.api.base_url = server.url

        def send(to: str = "+15005550006", **fields: str) -> str:
            defaults = {"from_": "+15005550010", "status_callback": f"{receiver.url}/cb"}
            return client.messages.create(to, body="hello", **{**defaults, **fields}).sid

        yield server, send


def test_lost_callbacks_are_never_posted_and_not_waited_for(receiver):
    with running_carrier(receiver, lost=ALWAYS) as (server, send):
        sid = send()
        assert server.ledger.wait_until_idle(30)
        assert (receiver.received, server.ledger.attempts()) == ([], [])
        assert server.ledger.get(sid).status == "delivered"


def test_doubled_callbacks_repeat_the_same_event(receiver):
    with running_carrier(receiver, doubled=ALWAYS) as (server, send):
        sid = send()
        assert server.ledger.wait_until_idle(30)
        assert receiver.statuses(sid) == ["sent", "sent", "delivered", "delivered"]
        assert len({callback.token for callback in receiver.received}) == 2
        assert len(server.ledger.attempts(sid)) == 4


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
    with running_carrier(receiver, swapped=ALWAYS) as (server, send):
        sid = send(number)
        assert server.ledger.wait_until_idle(30)
        assert receiver.statuses(sid) == callbacks


@pytest.mark.parametrize(
    ("number", "lies"),
    [("+15005550006", ["undelivered"] * 2), (SENT_ONLY, ["delivered"])],
)
def test_forged_callback_lies_and_verifies_with_no_token(receiver, number, lies):
    with running_carrier(receiver, forged=ALWAYS) as (server, send):
        sid = send(number)
        assert server.ledger.wait_until_idle(30)
        forged = [a for a in server.ledger.attempts(sid) if a.signing_key is SigningKey.WRONG]
        assert [attempt.status for attempt in forged] == lies
        tokens = {attempt.idempotency_token for attempt in forged}
        received = [callback for callback in receiver.received if callback.token in tokens]
        assert not any(callback.is_signed_with(t) for callback in received for t in (TOKEN, FORMER))
        assert len(server.ledger.attempts(sid)) == 2 * len(lies)
        assert server.ledger.get(sid).status not in lies


def test_old_token_signs_in_place_of_the_present_one(receiver):
    with running_carrier(receiver, old_token=ALWAYS) as (server, send):
        sid = send()
        assert server.ledger.wait_until_idle(30)
        assert [callback.is_signed_with(FORMER) for callback in receiver.received] == [True, True]
        assert [callback.is_signed_with(TOKEN) for callback in receiver.received] == [False, False]
        assert {a.signing_key for a in server.ledger.attempts(sid)} == {SigningKey.FORMER}


def test_lost_answer_breaks_the_connection_but_the_message_goes_its_way(receiver):
    with running_carrier(receiver, answer_lost=ALWAYS) as (server, send):
        with pytest.raises(requests.ConnectionError):
            send()
        assert server.ledger.wait_until_idle(30)
        (message,) = server.ledger.messages()
        assert receiver.statuses(message.sid) == ["sent", "delivered"]


def test_so_many_creates_as_told_are_refused(receiver):
    with running_carrier(receiver) as (server, send):
        server.fault_injector.refuse_next(2)
        for _ in range(2):
            with pytest.raises(TwilioRestException) as refusal:
                send()
            assert (refusal.value.status, refusal.value.code) == (429, 20429)
        sid = send()
        assert [message.sid for message in server.ledger.messages()] == [sid]


def test_combined_faults_occur_at_about_their_rates_and_leave_nothing_pending(receiver):
    shares = {"lost": 0.2, "doubled": 0.2, "swapped": 0.3, "forged": 0.1, "old_token": 0.1}
    with running_carrier(receiver, **shares, seed=7) as (server, send):
        sids = [send() for _ in range(100)]
        assert server.ledger.wait_until_idle(30)
        attempts = server.ledger.attempts()
        assert len(receiver.received) == len(attempts)
        keys = [attempt.signing_key for attempt in attempts]
        assert 5 <= keys.count(SigningKey.WRONG) <= 45
        assert 5 <= keys.count(SigningKey.FORMER) <= 45
        assert (
            len({a.idempotency_token for a in attempts if a.signing_key is not SigningKey.WRONG})
            < 190
        )
        assert {server.ledger.get(sid).status for sid in sids} == {"delivered"}
