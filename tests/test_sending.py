"""From the form to Twilio: one form instance makes one message, and every outcome is told apart."""

import logging
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from urllib.parse import parse_qs

import pytest
import requests
import time_machine
import urllib3.connection
from flask import Flask
from sqlalchemy import event
from sqlalchemy.exc import OperationalError
from werkzeug.test import TestResponse

from smstracker.carrier import http_client
from smstracker.clock import utcnow
from smstracker.extensions import db
from smstracker.messages import sending
from smstracker.simulator import SimulatorServer
from smstracker.sms.lookup_schedule import SILENCE_AGES
from tests.clients import Person
from tests.signing import call_back, fields, sid
from tests.twilio_stub import DRIP, HANG_UP, SILENCE, answer, created, wire

MakeApp = Callable[..., Flask]
# An error as RFC 9457 describes it. Its status is no more than a copy of that of the answer.
PROBLEM = {"type": "about:blank", "title": "x", "code": 21211}


def sender_at(make_app: MakeApp, url: str, **changed: str) -> Person:
    return Person.signed_in(make_app(TWILIO_API_BASE_URL=url, **changed), "alice@example.org")


@pytest.mark.both_databases
def test_accepted_message_has_sid_status_and_segments(
    make_app: MakeApp, simulator: SimulatorServer
) -> None:
    alice = sender_at(make_app, simulator.url)
    reply = alice.send(body="Hello " * 40)
    message = alice.message()
    assert reply.status_code == 303
    assert reply.location == f"/messages/{message.public_id}"
    assert (message.status, message.status_source, message.segments) == ("queued", "send", 2)
    assert message.twilio_sid in {message.sid for message in simulator.ledger.messages()}
    [event] = alice.events(message)
    assert (event.status, event.source) == ("queued", "send")


def test_request_asks_for_a_callback_with_retries(make_app: MakeApp) -> None:
    with wire(created(sid(1))) as twilio:
        alice = sender_at(make_app, twilio.url)
        alice.send(media_urls="https://a.example/1.jpg\r\n\r\n https://a.example/2.jpg ")
        parameters = parse_qs(twilio.requests[0])
    assert parameters["StatusCallback"] == [
        f"https://sms.example.org/webhooks/twilio/status/{alice.message().public_id}"
        "#rc=5&rp=ct,rt,5xx&ct=2000&rt=2500"
    ]
    assert parameters["MediaUrl"] == ["https://a.example/1.jpg", "https://a.example/2.jpg"]
    assert (parameters["To"], parameters["From"]) == (["+15558675310"], ["+15005550006"])


def test_loopback_carrier_is_reached_past_any_proxy(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with wire(created(sid(1))) as twilio:
        alice = sender_at(make_app, twilio.url)
        alice.send()
    assert alice.message().status == "queued"


def test_messaging_service_sends_and_the_number_comes_later(make_app: MakeApp) -> None:
    service = "MG" + "a" * 32
    with wire(created(sid(1), status="accepted", num_segments="0", **{"from": None})) as twilio:
        alice = sender_at(make_app, twilio.url, TWILIO_MESSAGING_SERVICE_SID=service)
        alice.send(sender=service)
        parameters = parse_qs(twilio.requests[0])
    message = alice.message()
    assert parameters["MessagingServiceSid"] == [service]
    assert "From" not in parameters
    assert (message.status, message.sender, message.segments) == ("accepted", None, None)


@pytest.mark.both_databases
def test_row_is_committed_and_no_transaction_is_open_during_the_call(make_app: MakeApp) -> None:
    observations: list[tuple[int, int]] = []
    with wire(created(sid(1))) as twilio:
        alice = sender_at(make_app, twilio.url)

        def look() -> None:
            with alice.app.app_context():
                in_use = db.engine.pool.checkedout()  # type: ignore[attr-defined]
            observations.append((len(alice.messages()), in_use))

        twilio.on_request = look
        alice.send()
    assert observations == [(1, 0)]


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (answer(400, {"code": 21610, "message": "x", "status": 400}), "21610"),
        (answer(429, {"code": 20429, "message": "x", "status": 429}), "20429"),
        (answer(401, {"code": 20003, "message": "x", "status": 401}), "20003"),
        (answer(403, "<html>proxy</html>", "text/html"), "HTTP 403"),
        # Other hosts that speak Twilio's API write codes as texts, or words.
        (answer(400, {"code": "21610", "message": "x", "status": 400}), "21610"),
        (answer(400, {"code": "not_routable", "message": "x", "status": 400}), "HTTP 400"),
        (answer(400, {"code": [21610], "message": "x", "status": 400}), "HTTP 400"),
        (answer(400, {"code": 21610.5, "message": "x", "status": 400}), "HTTP 400"),
        (answer(400, {"code": 10**20, "message": "x", "status": 400}), "HTTP 400"),
        *((answer(400, PROBLEM | {"status": copy}), "21211") for copy in (400, "bad", None, 503)),
    ],
)
def test_refused_message_is_kept_with_its_code(make_app: MakeApp, reply: bytes, code: str) -> None:
    with wire(reply) as twilio:
        alice = sender_at(make_app, twilio.url)
        assert alice.send().status_code == 303
        assert len(twilio.requests) == 1
    message = alice.message()
    assert (message.status, message.error_code, message.twilio_sid) == ("refused", code, None)
    assert "Not sent" in alice.get(f"/messages/{message.public_id}").text


@pytest.mark.parametrize(
    "reply",
    [
        HANG_UP,
        SILENCE,
        answer(500, {"code": 20500, "message": "x", "status": 500}),
        answer(503, "busy", "text/plain"),
        answer(408, "", "text/plain"),
        answer(503, PROBLEM | {"status": 400}),
        answer(302, "", "text/plain"),
        answer(201, "not json"),
        created(sid(1)).replace(b"Content-Length: ", b"Content-Length: 5, "),
        created(sid(1)).replace(b"Content-Type", b"Content-Length: 5\r\nContent-Type"),
        created(sid(1)).replace(b"Connection: close", b"Transfer-Encoding: chunked"),
        created(sid(1)).replace(b"HTTP/1.1 201 X", b"SMTP ready"),
        answer(201, {}),
        answer(201, {"sid": None, "status": "queued"}),
        answer(201, {"sid": "x" * 65, "status": "queued"}),
        answer(201, []),
    ],
)
def test_unknown_outcome_is_kept_as_unknown_and_never_repeated(
    make_app: MakeApp, reply: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_client, "READ_TIMEOUT", 0.3)
    with wire(reply, created(sid(1))) as twilio:
        alice = sender_at(make_app, twilio.url)
        assert alice.send().status_code == 303
        assert len(twilio.requests) == 1
    message = alice.message()
    assert (message.status, message.twilio_sid) == ("unknown", None)
    page = alice.get(f"/messages/{message.public_id}").text
    assert "do not send it again" in page


@pytest.mark.slow
@pytest.mark.parametrize("reply", [b"HTTP/1.1 201 " + b"x" * 4000, created(sid(1), x="x" * 4000)])
def test_answer_that_drips_is_not_waited_for_and_its_outcome_is_unknown(
    make_app: MakeApp, reply: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_client, "RESPONSE_TIMEOUT", 0.5)
    with wire(DRIP + reply) as twilio:
        alice = sender_at(make_app, twilio.url)
        started_at = time.monotonic()
        assert alice.send().status_code == 303
        assert time.monotonic() - started_at < 20  # at its pace it would take 80
    assert alice.message().status == "unknown"


@pytest.mark.both_databases
def test_half_of_the_threads_never_wait_for_twilio(make_app: MakeApp) -> None:
    with wire(created(sid(1)), created(sid(2))) as twilio:
        alice = sender_at(make_app, twilio.url, WEB_THREADS="2")
        bob = Person.signed_in(alice.app, "bob@example.org")
        form = bob.compose(body="Kept while it is busy")
        busy: list[TestResponse] = []
        twilio.on_request = lambda: busy.append(bob.client.post("/messages", data=form))
        assert alice.send().status_code == 303
        twilio.on_request = lambda: None
        assert (busy[0].status_code, busy[0].headers["Retry-After"]) == (503, "10")
        assert "Nothing was sent or saved" in busy[0].text
        assert "Kept while it is busy" in busy[0].text
        assert bob.messages() == []
        for _ in range(2):
            assert bob.client.post("/messages", data=form).status_code == 303
        assert len(twilio.requests) == 2
    assert bob.message().body == "Kept while it is busy"


def test_absurd_number_of_segments_is_not_stored(make_app: MakeApp) -> None:
    with wire(created(sid(1), num_segments="9" * 20)) as twilio:
        alice = sender_at(make_app, twilio.url)
        assert alice.send().status_code == 303
    assert (alice.message().status, alice.message().segments) == ("queued", None)


def test_every_request_through_a_proxy_is_sent_and_recorded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("NO_PROXY", "no_proxy", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    with wire(*[created(sid(1))] * 3) as twilio:
        monkeypatch.setenv("HTTP_PROXY", twilio.url)
        client = http_client.new_client()
        for _ in range(3):
            http_client.begin_request()
            assert client.request("POST", "http://api.example.org/x").status_code == 201
            assert http_client.has_sent()
        assert len(twilio.requests) == 3


def test_request_that_breaks_half_way_counts_as_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    def break_off(_connection: object, _data: object) -> None:
        raise ConnectionResetError("after some bytes")

    with wire() as twilio:
        monkeypatch.setattr(urllib3.connection.HTTPConnection, "send", break_off)
        http_client.begin_request()
        with pytest.raises(requests.ConnectionError):
            http_client.new_client().request("POST", twilio.url)
    assert http_client.has_sent()


def test_tunnel_that_a_proxy_refuses_counts_as_nothing_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("NO_PROXY", "no_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    with wire(answer(502, "no", "text/plain")) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        http_client.begin_request()
        with pytest.raises(requests.exceptions.ProxyError):
            http_client.new_client().request("POST", "https://api.example.org/x")
    assert not http_client.has_sent()


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "https://no-such-host.invalid"])
def test_unreached_carrier_means_certainly_not_sent(make_app: MakeApp, url: str) -> None:
    alice = sender_at(make_app, url)
    assert alice.send().status_code == 303
    message = alice.message()
    assert message.status == "unreached"
    assert "so the message was not sent" in alice.get(f"/messages/{message.public_id}").text


def test_failed_handshake_means_certainly_not_sent(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_client, "READ_TIMEOUT", 0.3)
    with wire(SILENCE) as twilio:
        alice = sender_at(make_app, twilio.url.replace("http:", "https:"))
        assert alice.send().status_code == 303
    assert alice.message().status == "unreached"


def test_request_that_cannot_be_put_into_bytes_was_certainly_not_sent(make_app: MakeApp) -> None:
    with wire() as twilio:
        alice = sender_at(make_app, twilio.url)
        alice.app.extensions["carrier"]._client.auth = ("AC1", "“token”")
        alice.send()
        assert twilio.requests == []
    assert alice.message().status == "unreached"


@pytest.mark.parametrize("code", [21609, "21609"])
def test_refused_callback_url_is_sent_once_more_without_one(
    make_app: MakeApp, code: int | str
) -> None:
    refusal = answer(400, {"code": code, "message": "x", "status": 400})
    with wire(refusal, created(sid(1))) as twilio:
        alice = sender_at(make_app, twilio.url)
        alice.send()
        assert ["StatusCallback" in parse_qs(body) for body in twilio.requests] == [True, False]
    message = alice.message()
    assert (message.status, message.callback_requested) == ("queued", False)
    page = alice.get(f"/messages/{message.public_id}").text
    assert "statuses will not arrive by callback" in page


def test_second_try_without_callback_url_is_the_last(make_app: MakeApp) -> None:
    refusal = answer(400, {"code": 21609, "message": "x", "status": 400})
    with wire(refusal, HANG_UP) as twilio:
        alice = sender_at(make_app, twilio.url)
        alice.send()
        assert len(twilio.requests) == 2
    assert (alice.message().status, alice.message().callback_requested) == ("unknown", False)


def test_unknown_first_status_counts_as_accepted(make_app: MakeApp) -> None:
    with wire(created(sid(1), status="teleporting")) as twilio:
        alice = sender_at(make_app, twilio.url)
        alice.send()
    assert alice.message().status == "accepted"
    assert alice.events(alice.message())[0].payload["status"] == "teleporting"


@pytest.mark.both_databases
def test_repeated_sid_keeps_both_rows_and_is_logged(
    make_app: MakeApp, caplog: pytest.LogCaptureFixture
) -> None:
    with wire(created(sid(1)), created(sid(1))) as twilio, caplog.at_level(logging.WARNING):
        alice = sender_at(make_app, twilio.url)
        replies = [alice.send(), alice.send(body="Another")]
    assert [reply.status_code for reply in replies] == [303, 303]
    assert [message.twilio_sid for message in alice.messages()] == [sid(1), None]
    assert [message.status for message in alice.messages()] == ["queued", "queued"]
    assert "sid_already_held" in caplog.messages
    assert alice.get(replies[1].location).status_code == 200


@pytest.mark.both_databases
def test_same_form_twice_makes_one_message(make_app: MakeApp) -> None:
    with wire(created(sid(1))) as twilio:
        alice = sender_at(make_app, twilio.url)
        form = alice.compose()
        first_reply, second = (alice.client.post("/messages", data=form) for _ in range(2))
        assert len(twilio.requests) == 1
    assert first_reply.location == second.location
    assert len(alice.messages()) == 1


@pytest.mark.both_databases
def test_double_click_makes_one_message(make_app: MakeApp, simulator: SimulatorServer) -> None:
    alice = sender_at(make_app, simulator.url)
    form = alice.compose()
    browsers = [alice.app.test_client() for _ in range(8)]
    cookie = alice.client.get_cookie("__Host-session", domain="sms.example.org")
    assert cookie is not None
    for browser in browsers:
        browser.set_cookie("__Host-session", cookie.value, domain="sms.example.org", secure=True)
    with ThreadPoolExecutor(8) as threads:
        replies = list(threads.map(lambda b: b.post("/messages", data=form), browsers))
    assert {reply.status_code for reply in replies} == {303}
    assert len(alice.messages()) == 1
    assert len(simulator.ledger.messages()) == 1


@pytest.mark.both_databases
def test_changed_text_on_a_used_form_is_kept_and_not_sent(make_app: MakeApp) -> None:
    with wire(created(sid(1)), created(sid(2))) as twilio:
        alice = sender_at(make_app, twilio.url)
        form = alice.compose(body="First")
        alice.client.post("/messages", data=form)
        reply = alice.client.post("/messages", data=form | {"body": "Second"})
        assert reply.status_code == 409
        assert "nothing was sent now" in reply.text
        assert "Second" in reply.text
        assert len(twilio.requests) == 1
        assert form["form_id"] not in reply.text


@pytest.mark.both_databases
def test_send_limit_counts_messages_and_tells_the_wait(
    make_app: MakeApp, simulator: SimulatorServer
) -> None:
    alice = sender_at(make_app, simulator.url, SEND_LIMIT_PER_MINUTE="2")
    with time_machine.travel(utcnow(), tick=False) as clock:
        assert alice.send().status_code == 303
        clock.shift(20)
        assert alice.send().status_code == 303
        reply = alice.send(body="The typed text")
        assert reply.status_code == 429
        assert "Try again in 40 seconds" in reply.text
        assert "The typed text" in reply.text
        assert len(alice.messages()) == 2
        clock.shift(timedelta(seconds=40))
        assert alice.send().status_code == 303


@pytest.mark.both_databases
def test_send_limit_of_a_day(make_app: MakeApp, simulator: SimulatorServer) -> None:
    alice = sender_at(make_app, simulator.url, SEND_LIMIT_PER_DAY="1")
    assert alice.send().status_code == 303
    reply = alice.send()
    assert reply.status_code == 429
    assert "Try again in 1 day" in reply.text


@pytest.mark.both_databases
def test_send_limit_is_each_users_own(make_app: MakeApp, simulator: SimulatorServer) -> None:
    alice = sender_at(make_app, simulator.url, SEND_LIMIT_PER_MINUTE="1")
    bob = Person.signed_in(alice.app, "bob@example.org")
    assert [alice.send().status_code, bob.send().status_code] == [303, 303]


@pytest.mark.both_databases
def test_outcome_that_cannot_be_recorded_at_first_is_recorded_on_the_second_try(
    make_app: MakeApp, simulator: SimulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, real, calls = sender_at(make_app, simulator.url), sending.apply_send_result, []

    def once_gone(*arguments: object) -> None:
        calls.append(arguments)
        if len(calls) == 1:
            raise OperationalError("INSERT", {}, Exception("gone"))
        real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(sending, "apply_send_result", once_gone)
    alice.send()
    assert alice.message().status == "queued"


@pytest.mark.both_databases
def test_outcome_that_cannot_be_recorded_turns_unknown_by_itself(
    make_app: MakeApp, simulator: SimulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_arguments: object) -> None:
        raise OperationalError("INSERT", {}, Exception("gone"))

    monkeypatch.setattr(sending, "apply_send_result", gone)
    alice = sender_at(make_app, simulator.url)
    assert alice.send().status_code == 303
    message = alice.message()
    assert message.status == "pending"
    with time_machine.travel(utcnow() + timedelta(minutes=3)):
        assert "Outcome unknown" in alice.get(f"/messages/{message.public_id}").text


@pytest.mark.both_databases
def test_answer_of_twilio_is_stored_by_one_update(
    make_app: MakeApp, simulator: SimulatorServer
) -> None:
    alice, updates = sender_at(make_app, simulator.url), []
    form = alice.compose()
    with alice.app.app_context():
        engine = db.engine

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        if statement.startswith("UPDATE message "):
            updates.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    assert alice.client.post("/messages", data=form).status_code == 303
    assert len(updates) == 1
    message = alice.message()
    assert (message.status, message.segments) == ("queued", 1)
    assert message.twilio_sid is not None
    assert message.next_lookup_at == message.status_at + SILENCE_AGES[0]


# A key that follows from others is that of a row of a batch, or of a program's request.
@pytest.mark.parametrize("key", ["nonsense", str(uuid.uuid5(uuid.NAMESPACE_OID, "2"))])
def test_form_without_an_instance_is_not_sent(alice: Person, key: str) -> None:
    reply = alice.send(form_id=key)
    assert reply.status_code == 422
    assert "send it again" in reply.text
    assert alice.messages() == []
    assert uuid.UUID(alice.compose()["form_id"])


@pytest.mark.both_databases
def test_message_is_asked_about_after_five_silent_minutes(
    make_app: MakeApp, simulator: SimulatorServer
) -> None:
    alice = sender_at(make_app, simulator.url)
    alice.send()
    message = alice.message()
    assert message.next_lookup_at == message.status_at + timedelta(minutes=5)


@pytest.mark.both_databases
def test_message_that_was_settled_before_the_answer_is_not_asked_about(make_app: MakeApp) -> None:
    with wire(created(sid(1))) as twilio:
        alice = sender_at(make_app, twilio.url)

        def delivered_first() -> None:
            path = f"/webhooks/twilio/status/{alice.message().public_id}"
            call_back(alice.app.test_client(), fields(sid(1), "delivered"), path)

        twilio.on_request = delivered_first
        alice.send()
    assert (alice.message().status, alice.message().next_lookup_at) == ("delivered", None)
