"""Status callbacks of the simulated carrier: scenarios, signatures and retries, over real HTTP."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
import requests
from twilio.http.http_client import TwilioHttpClient
from twilio.rest import Client

from smstracker.simulator import SimulatorServer, create_simulator
from smstracker.simulator.api_errors import ApiError
from smstracker.simulator.callback_url import parse_callback_url
from smstracker.simulator.scenarios import SigningKey
from tests.callback_receiver import BROKEN, CallbackReceiver, running_receiver
from tests.serving import free_port

SID, TOKEN, OTHER = "AC" + "a1" * 16, "primary-token", "secondary-token"
SERVICE = "MG" + "b2" * 16
SENDER = "+15005550010"
RETRY_OVERRIDES = "rc=5&rp=ct,rt,5xx&ct=2000&rt=2500"


@pytest.fixture
def receiver() -> Iterator[CallbackReceiver]:
    with running_receiver() as receiver:
        yield receiver


@pytest.fixture
def server() -> Iterator[SimulatorServer]:
    app = create_simulator(account_sid=SID, auth_token=TOKEN, auth_token_secondary=OTHER, speed=200)
    with SimulatorServer(app) as server:
        yield server


@pytest.fixture
def client(server: SimulatorServer) -> Client:
    client = Client(SID, TOKEN, http_client=TwilioHttpClient(timeout=30))
    client.api.base_url = server.url
    return client


@pytest.fixture
def send(client: Client, receiver: CallbackReceiver) -> Callable[..., str]:
    """Create a message and return its SID; callbacks go to the receiver by default."""

    def send(to: str = "+15005550006", *, callback: str = "/cb", **fields: object) -> str:
        fields.setdefault("from_", SENDER)
        url = callback if callback[:4] in ("", "http") else receiver.url + callback
        return client.messages.create(to, body="hello", status_callback=url or None, **fields).sid

    return send


SCENARIO_CALLBACKS = [
    ("+15005550006", ["sent", "delivered"], "delivered", None),
    ("+4915112345678", ["sent", "delivered"], "delivered", None),
    ("+15005553003", ["sent", "undelivered"], "undelivered", 30003),
    ("+15005553005", ["sent", "undelivered"], "undelivered", 30005),
    ("+15005553006", ["sent", "undelivered"], "undelivered", 30006),
    ("+15005553007", ["sent", "undelivered"], "undelivered", 30007),
    ("+15005553034", ["sent", "undelivered"], "undelivered", 30034),
    ("+15005550100", ["sent"], "sent", None),
    ("+15005550101", ["sent", "delivered"], "delivered", None),
    ("+15005550102", ["sent", "sent", "delivered", "delivered"], "delivered", None),
    ("+15005550103", ["delivered", "sent"], "delivered", None),
    ("+15005550104", [], "delivered", None),
    ("+15005550105", ["sent", "delivered"], "sent", None),
    ("+15005550106", ["sent", "delivered"], "delivered", None),
    ("+15005550108", ["sent", "delivered"], "delivered", None),
    ("+15005550110", ["failed", "delivered"], "delivered", None),
    ("+15005550111", ["sent", "delivered"], "delivered", 30018),
    ("+15005550114", ["sent"], "delivered", None),
]


@pytest.mark.parametrize(("number", "callbacks", "truth", "code"), SCENARIO_CALLBACKS)
def test_scenario_posts_its_callbacks(
    server, client, receiver, send, number, callbacks, truth, code
):
    sid = send(number)
    assert server.ledger.wait_until_idle(30)
    assert receiver.statuses(sid) == callbacks
    message = client.messages(sid).fetch()
    assert (message.status, message.error_code) == (truth, code)
    assert bool(message.error_message) == bool(code)
    if code:
        assert receiver.received[-1].form["ErrorCode"] == str(code)
    assert [(a.status, a.response_status, a.error) for a in server.ledger.attempts(sid)] == [
        (status, 204, None) for status in callbacks
    ]


def test_callback_has_the_parameters_headers_and_signature_of_twilio(server, receiver, send):
    sid = send(callback="/cb/a%2Fb~c?id=1&x=%27y%20#rc=2&rp=all")
    assert server.ledger.wait_until_idle(30)
    sent, delivered = receiver.received
    common = {"AccountSid": SID, "ApiVersion": "2010-04-01", "From": SENDER, "To": "+15005550006"}
    common |= {"MessageSid": sid, "SmsSid": sid}
    assert sent.form.to_dict() == common | {"MessageStatus": "sent", "SmsStatus": "sent"}
    done = delivered.form["RawDlrDoneDate"]
    age = datetime.now(UTC) - datetime.strptime(done, "%y%m%d%H%M").replace(tzinfo=UTC)
    assert timedelta(0) <= age < timedelta(minutes=2)
    assert delivered.form.keys() == sent.form.keys() | {"RawDlrDoneDate"}
    for callback in (sent, delivered):
        assert callback.target == "/cb/a%2Fb~c?id=1&x=%27y%20"
        assert callback.is_signed_with(TOKEN)
        assert callback.headers["User-Agent"] == "TwilioProxy/1.1"
        assert callback.headers["Accept"] == "*/*"
        assert callback.headers["X-Home-Region"] == "us1"
        assert callback.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert sent.token != delivered.token
    attempts = server.ledger.attempts(sid)
    assert [a.params for a in attempts] == [sent.form.to_dict(), delivered.form.to_dict()]
    assert {a.url for a in attempts} == {sent.url}


def test_with_a_service_queued_is_called_back_and_the_service_named(server, receiver, send):
    sid = send(messaging_service_sid=SERVICE, from_=None)
    assert server.ledger.wait_until_idle(30)
    assert receiver.statuses(sid) == ["queued", "sent", "delivered"]
    assert {callback.form["MessagingServiceSid"] for callback in receiver.received} == {SERVICE}
    assert all(callback.form["From"].startswith("+1500555") for callback in receiver.received)


def test_doubled_callbacks_repeat_the_same_event(server, receiver, send):
    send("+15005550102")
    assert server.ledger.wait_until_idle(30)
    sent, sent_again, delivered, delivered_again = receiver.received
    assert (sent.token, sent.form) == (sent_again.token, sent_again.form)
    assert (delivered.token, delivered.form) == (delivered_again.token, delivered_again.form)


def test_forged_callback_does_not_verify_with_any_token(server, receiver, send):
    sid = send("+15005550105")
    assert server.ledger.wait_until_idle(30)
    sent, forged = receiver.received
    assert sent.is_signed_with(TOKEN)
    assert not forged.is_signed_with(TOKEN)
    assert not forged.is_signed_with(OTHER)
    keys = [attempt.signing_key for attempt in server.ledger.attempts(sid)]
    assert keys == [SigningKey.PRIMARY, SigningKey.WRONG]


def test_secondary_scenario_signs_with_the_secondary_token(server, receiver, send):
    send("+15005550106")
    assert server.ledger.wait_until_idle(30)
    assert [callback.is_signed_with(OTHER) for callback in receiver.received] == [True, True]
    assert [callback.is_signed_with(TOKEN) for callback in receiver.received] == [False, False]


@pytest.mark.parametrize("service", [None, SERVICE])
def test_early_callback_is_answered_before_the_create_call(server, receiver, send, service):
    sid = send("+15005550108", messaging_service_sid=service)
    assert receiver.statuses(sid)[-1:] == ["sent"]
    assert server.ledger.attempts(sid)[-1].response_status == 204


def test_lost_answer_breaks_the_connection_but_the_message_goes_its_way(server, receiver, send):
    with pytest.raises(requests.ConnectionError):
        send("+15005550107")
    assert server.ledger.wait_until_idle(30)
    assert server.ledger.count_creates("+15005550107", "hello") == 1
    (message,) = server.ledger.messages()
    assert message.status == "delivered"
    assert receiver.statuses(message.sid) == ["sent", "delivered"]


def test_a_bad_answer_is_retried_as_asked_with_the_same_token(server, receiver, send):
    receiver.answers = [503, 500]
    sid = send(callback=f"/cb#{RETRY_OVERRIDES}")
    assert server.ledger.wait_until_idle(30)
    assert receiver.statuses(sid) == ["sent", "sent", "sent", "delivered"]
    assert len({callback.token for callback in receiver.received[:3]}) == 1
    assert receiver.received[3].token != receiver.received[0].token
    assert [a.response_status for a in server.ledger.attempts(sid)] == [503, 500, 204, 204]


def test_an_outage_of_the_receiver_costs_nothing_if_it_ends_in_time(server, receiver, send):
    receiver.answers = [503, BROKEN, 503]
    sid = send("+15005550100", callback="/cb#rc=5&rp=all&ct=2000&rt=2500")
    assert server.ledger.wait_until_idle(30)
    attempts = server.ledger.attempts(sid)
    assert [a.response_status for a in attempts] == [503, None, 503, 204]
    assert len({a.idempotency_token for a in attempts}) == 1


def test_retries_end_within_the_longest_time_that_can_be_asked_for():
    assert parse_callback_url(f"http://127.0.0.1/#{RETRY_OVERRIDES}").overrides.total == 15
    assert parse_callback_url("http://127.0.0.1/#tt=15000").overrides.total == 15
    with pytest.raises(ApiError, match="21609"):
        parse_callback_url("http://127.0.0.1/#tt=15001")


RETRIES = [
    (302, "", 1),
    (403, "", 1),
    (503, "", 1),
    (403, RETRY_OVERRIDES, 1),
    (403, "rc=2&rp=4xx", 3),
    (403, "rc=1&rp=all", 2),
    (503, "rc=5&rp=5xx", 6),
    (503, "rc=0&rp=all", 1),
    (503, "rp=5xx", 2),
    (302, "rp=all", 2),
    (BROKEN, RETRY_OVERRIDES, 1),
    (BROKEN, "rp=all", 2),
]


@pytest.mark.parametrize(("answer", "fragment", "tries"), RETRIES)
def test_retries_follow_policy_and_count(server, receiver, send, answer, fragment, tries):
    receiver.answers = [answer] * 6
    sid = send("+15005550100", callback=f"/cb#{fragment}")
    assert server.ledger.wait_until_idle(30)
    assert receiver.statuses(sid) == ["sent"] * tries
    assert [a.response_status for a in server.ledger.attempts(sid)] == [answer or None] * tries


def test_a_hanging_receiver_is_retried_only_when_asked(server, receiver, send):
    once = send("+15005550100", callback="/hang#rt=100")
    thrice = send("+15005550100", callback="/hang#rt=100&rp=rt&rc=2")
    assert server.ledger.wait_until_idle(30)
    assert receiver.wait_for(4)  # it may read what the carrier has given up already
    assert [receiver.statuses(sid) for sid in (once, thrice)] == [["sent"], ["sent"] * 3]
    errors = {(a.error.split(":")[0], a.response_status) for a in server.ledger.attempts()}
    assert errors == {("TimeoutError", None)}


def test_retries_end_with_the_total_time(server, receiver, send):
    sid = send("+15005550100", callback="/hang#rt=150&tt=200&rp=rt&rc=5")
    assert server.ledger.wait_until_idle(30)
    assert receiver.wait_for(1)
    assert len(receiver.statuses(sid)) <= 3


def test_a_refused_connection_is_retried_once_by_default(server, send):
    sid = send("+15005550100", callback=f"http://127.0.0.1:{free_port()}/cb")
    assert server.ledger.wait_until_idle(30)
    errors = [attempt.error for attempt in server.ledger.attempts(sid)]
    assert [error.split(":")[0] for error in errors] == ["ConnectionRefusedError"] * 2


def test_a_slow_receiver_holds_up_neither_the_truth_nor_other_messages(server, receiver, send):
    slow = send(callback="/hang")
    assert receiver.wait_for(1)
    quick = [send() for _ in range(20)]
    assert receiver.wait_for(1 + 2 * len(quick))
    assert all(receiver.statuses(sid) == ["sent", "delivered"] for sid in quick)
    assert receiver.statuses(slow) == ["sent"]
    assert server.ledger.get(slow).status == "delivered"
    receiver.released.set()
    assert server.ledger.wait_until_idle(30)
    assert receiver.statuses(slow) == ["sent", "delivered"]
