"""What is refused before it costs anything, and what verifies but is no status callback."""

import io
import json
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func, select
from werkzeug.formparser import FormDataParser

from smstracker.callback_requests.body import MAX_FIELDS
from smstracker.carrier import signatures
from smstracker.extensions import db
from smstracker.models import CallbackTally
from smstracker.web.request_framing import MAX_CALLBACK_BYTES
from smstracker.webhooks import quarantine, views
from smstracker.webhooks.writer import CallbackWriter
from tests.clients import Person, words
from tests.refused_callbacks import explained, refused_rows, stored_events
from tests.signing import (
    ACCOUNT_SID,
    KEY_HEADER,
    STATUS_PATH,
    WEBHOOK_KEY,
    call_back,
    callback_path,
    fields,
    sid,
    signature,
)

FORM = "application/x-www-form-urlencoded"
KEY, SECRET = WEBHOOK_KEY
KEYS = {"TWILIO_WEBHOOK_KEYS": f"{KEY}:{SECRET}"}
INBOUND = {
    "ToCountry": "US",
    "SmsMessageSid": sid(9),
    "NumMedia": "0",
    "SmsSid": sid(9),
    "SmsStatus": "received",
    "Body": "My secret diagnosis",
    "FromCity": "SPRINGFIELD",
    "To": "+15005550006",
    "NumSegments": "1",
    "MessageSid": sid(9),
    "AccountSid": ACCOUNT_SID,
    "From": "+15558675310",
    "ApiVersion": "2010-04-01",
}
CALL = {
    "CallSid": "CA" + "1" * 32,
    "CallStatus": "completed",
    "From": "+15558675310",
    "AccountSid": ACCOUNT_SID,
}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Twilio-Signature": ""},
        {"X-Twilio-Signature": "A" * 27},
        {"X-Twilio-Signature": "A" * 28},
        {"X-Twilio-Signature": "A" * 27 + "=" + " "},
        {"X-Twilio-Signature": "-" * 27 + "="},
        {"X-Twilio-Signature": "A" * 43 + "="},
        {"X-Twilio-Signature": "A" * 27 + "=", "X-Twilio-Webhooks-Signature-Settings": KEY_HEADER},
        {"X-Twilio-Signature": "A" * 43 + "=", "X-Twilio-Webhooks-Signature-Settings": "key=x"},
        {
            "X-Twilio-Signature": "A" * 43 + "=",
            "X-Twilio-Webhooks-Signature-Settings": "key=unknown,algorithm=HMAC_SHA256",
        },
    ],
)
def test_signature_that_cannot_verify_is_a_403_and_nothing_is_parsed(
    make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch, headers: dict[str, str]
) -> None:
    def parse(_body: bytes) -> Any:
        raise AssertionError("parsed")

    app = make_app(**KEYS)
    monkeypatch.setattr(views, "read_form", parse)
    body = b"AccountSid=" + ACCOUNT_SID.encode() + b"".join(b"&f%d=1" % n for n in range(14_000))
    answer = app.test_client().post(STATUS_PATH, data=body, content_type=FORM, headers=headers)
    assert answer.status_code == 403
    [row] = refused_rows(app)
    assert (row.account_sid, row.is_plausible) == (ACCOUNT_SID, True)
    assert (row.body, row.body_length) == (body[: 16 * 1024], len(body))


def test_unsigned_form_of_thousands_of_fields_costs_next_to_nothing(client: FlaskClient) -> None:
    body = "&".join(f"a{n:03x}=" for n in range(20_000)).encode()[: 128 * 1024]
    client.post(STATUS_PATH, data=body, content_type=FORM)
    began = time.process_time()
    for _ in range(50):
        assert client.post(STATUS_PATH, data=body, content_type=FORM).status_code == 403
    assert time.process_time() - began < 1


@pytest.mark.parametrize("value", ["%" * 21, "%zz" * 21, "%FF" * 9000, "%E4%BD", "\u00ff"])
def test_form_that_no_sender_encodes_so_is_refused_before_it_is_parsed(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    """Its parser would take a thousand times as long as for a status callback."""

    def parse(*_args: object) -> Any:
        raise AssertionError("parsed")

    monkeypatch.setattr(FormDataParser, "parse", parse)
    body = f"AccountSid={ACCOUNT_SID}&A=".encode() + value.encode("latin-1")
    answer = client.post(
        STATUS_PATH, data=body, content_type=FORM, headers={"X-Twilio-Signature": "A" * 27 + "="}
    )
    assert answer.status_code == 403


def test_few_percent_signs_that_a_proxy_has_decoded_do_no_harm(client: FlaskClient) -> None:
    form = fields(sid(1), "sent") | {"Text": "100% of 20% " * 10}
    body = urlencode(form).replace("%25", "%").encode()
    headers = {"X-Twilio-Signature": signature(STATUS_PATH, form)}
    answer = client.post(STATUS_PATH, data=body, content_type=FORM, headers=headers)
    assert answer.status_code == 204


def test_json_is_compared_with_the_tokens_of_its_account_only(
    make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts = [f"AC{number:032x}" for number in range(50)]
    tokens = {account: f"{number:032x}" for number, account in enumerate(accounts)}
    app = make_app(TWILIO_SUBACCOUNT_TOKENS=",".join(":".join(item) for item in tokens.items()))
    compared: list[object] = []
    real = signatures.verifies

    def count(*args: Any) -> bool:
        compared.append(args)
        return real(*args)

    monkeypatch.setattr(signatures, "verifies", count)
    for account, code in (
        (accounts[7], "json"),
        (accounts[8], "json"),
        (ACCOUNT_SID, "not-a-form"),
    ):
        token = tokens.get(account, "f" * 32)
        headers = {"X-Twilio-Signature": signature(STATUS_PATH, {}, token)}
        body = json.dumps({"data": {"AccountSid": account}})
        app.test_client().post(
            STATUS_PATH, data=body, content_type="application/json", headers=headers
        )
        assert refused_rows(app)[-1].reason == code
    assert len(compared) < 6


def test_unsigned_body_is_read_no_further_than_it_is_kept(client: FlaskClient) -> None:
    stream = io.BytesIO(b"x" * 100_000)
    answer = client.post(
        STATUS_PATH,
        input_stream=stream,
        headers={"Transfer-Encoding": "chunked"},
        content_type=FORM,
        environ_overrides={"wsgi.input_terminated": True},
    )
    assert answer.status_code == 403
    assert stream.tell() < 20_000


@pytest.mark.parametrize(
    ("form", "code"),
    [
        ({"Huge": "x" * MAX_CALLBACK_BYTES}, 413),
        ({f"F{n}": "" for n in range(MAX_FIELDS)}, 413),
        ({"Text": "🎉" * 1600}, 204),
        ({f"F{n}": "" for n in range(MAX_FIELDS - 20)}, 204),
    ],
)
def test_signed_callback_has_a_limit_of_size_and_fields(
    client: FlaskClient, form: dict[str, str], code: int
) -> None:
    assert call_back(client, fields(sid(1), "sent") | form).status_code == code


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"SmsStatus": "receiving"},
        {"Body": ""},
        {"ProfileName": "Ann", "WaId": "15558675310", "From": "whatsapp:+15558675310"},
        {"MessageStatus": "received"},
    ],
)
def test_incoming_message_is_a_400_whose_text_and_number_are_not_kept(
    app: Flask, client: FlaskClient, changed: dict[str, str]
) -> None:
    assert call_back(client, INBOUND | changed).status_code == 400
    assert stored_events(app) == []
    [row] = refused_rows(app)
    assert (row.reason, row.twilio_sid, row.is_plausible) == ("inbound", sid(9), True)
    for secret in (b"diagnosis", b"5558675310", b"SPRINGFIELD", b"Ann"):
        assert secret not in row.body
    assert b"SmsStatus=" + (INBOUND | changed)["SmsStatus"].encode() in row.body
    assert b"Body=" in row.body
    assert explained(app).startswith(
        "Twilio signed it, but it is an incoming message, not a status callback: "
    )
    assert "another address" in explained(app)


@pytest.mark.parametrize("value", ["my diagnosis", "+15558675310", "15558675310", "5" * 5])
def test_value_that_is_no_word_of_twilio_is_not_kept_under_any_name(
    app: Flask, client: FlaskClient, value: str
) -> None:
    for name in ("NumMedia", "EventType"):
        assert call_back(client, INBOUND | {name: value}).status_code == 400
    first, second = (row.body.decode() for row in refused_rows(app))
    assert "NumMedia=&" in first
    assert second.endswith("EventType=")


def test_incoming_message_to_a_wrong_address_is_not_kept_either(
    app: Flask, client: FlaskClient
) -> None:
    assert call_back(client, INBOUND, "/webhooks/twilio/sms").status_code == 404
    assert b"diagnosis" not in refused_rows(app)[0].body


def test_webhook_of_a_call_is_a_400_that_says_so(app: Flask, client: FlaskClient) -> None:
    assert call_back(client, CALL).status_code == 400
    assert b"5558675310" not in refused_rows(app)[0].body
    assert explained(app).startswith("Twilio signed it, but it is about a call, ")


def test_signed_json_is_a_415_that_says_so_and_keeps_nothing(
    app: Flask, client: FlaskClient
) -> None:
    path = f"{STATUS_PATH}?bodySHA256={'0' * 64}"
    answer = client.post(
        path,
        data=b'[{"data": {"to": "+15558675310"}}]',
        content_type="application/json",
        headers={"X-Twilio-Signature": signature(path, {})},
    )
    assert answer.status_code == 415
    [row] = refused_rows(app)
    assert (row.reason, row.body, row.body_length) == ("json", b"", 34)
    assert explained(app).startswith("Twilio signed it, but it is JSON (Event Streams")


def test_unsigned_json_keeps_its_reason(app: Flask, client: FlaskClient) -> None:
    client.post(STATUS_PATH, data=b"{}", content_type="application/json")
    assert refused_rows(app)[0].reason == "not-a-form"


@pytest.mark.parametrize("bad", ["SM" + "1" * 31, "SM" + "g" * 32, "IM" + "1" * 32, "x"])
def test_sid_that_is_none_is_a_400(app: Flask, client: FlaskClient, bad: str) -> None:
    assert call_back(client, fields(bad, "sent")).status_code == 400
    assert refused_rows(app)[0].reason == "unreadable"


@pytest.mark.parametrize("good", ["SM" + "aB" * 16, "MM" + "0" * 32])
def test_sid_of_any_case_and_of_a_picture_message_is_stored(client: FlaskClient, good: str) -> None:
    assert call_back(client, fields(good, "sent")).status_code == 204


@pytest.mark.parametrize("bad", ["Sent", "sent ", "sent1", "s" * 33, "sént", "sent\n"])
def test_status_that_is_no_word_is_a_400(client: FlaskClient, bad: str) -> None:
    assert call_back(client, fields(sid(1), bad)).status_code == 400


@pytest.mark.both_databases
def test_same_event_is_only_counted(app: Flask, client: FlaskClient, alice: Person) -> None:
    message = alice.has_message(twilio_sid=sid(1))
    for _ in range(30):
        token = {"I_Twilio_Idempotency_Token": "token-1"}
        answer = call_back(client, fields(sid(1), "sent"), callback_path(message), **token)
        assert answer.status_code == 204
    [event] = alice.events(message)
    assert (event.repeats, event.status) == (29, "sent")
    assert "repeated 29 times" in words(alice.get(f"/messages/{message.public_id}").text)
    with app.app_context():
        assert db.session.scalar(select(func.sum(CallbackTally.repeated))) == 29


@pytest.mark.both_databases
@pytest.mark.parametrize("is_ours", [True, False])
def test_capture_replayed_with_ever_new_tokens_is_bounded(
    app: Flask, client: FlaskClient, alice: Person, is_ours: bool
) -> None:
    if is_ours:
        alice.has_message(twilio_sid=sid(1))
    for number in range(25):
        token = {"I_Twilio_Idempotency_Token": f"token-{number}"}
        assert call_back(client, fields(sid(1), "sent"), **token).status_code == 204
    events = stored_events(app)
    assert len(events) == 20
    assert sum(event.repeats for event in events) == 5
    assert call_back(client, fields(sid(1), "delivered")).status_code == 204
    assert stored_events(app)[-1].status == "delivered"


@pytest.mark.both_databases
def test_repeat_of_an_orphan_is_only_counted_and_still_attached(
    app: Flask, client: FlaskClient, alice: Person
) -> None:
    message = alice.has_message(status="pending")
    for _ in range(3):
        call_back(client, fields(sid(1), "delivered"))
    assert [event.repeats for event in stored_events(app)] == [2]
    call_back(client, fields(sid(1), "sent"), callback_path(message))
    assert alice.message().status == "delivered"


def test_refused_callback_is_held_back_while_others_are_stored(
    app: Flask, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    delays: list[float] = []
    peer = {"gunicorn.socket": SimpleNamespace(hold_back=delays.append)}
    client.post(STATUS_PATH, data={"a": "1"}, environ_overrides=peer)
    assert delays == []
    with monkeypatch.context() as busy:
        busy.setattr(CallbackWriter, "is_busy", True)
        client.post(STATUS_PATH, data={"a": "1"}, environ_overrides=peer)
        call_back(client, fields(sid(1), "sent"))
        client.post(STATUS_PATH, data={"a": "1"})
    assert delays == [quarantine.HOLD_BACK_SECONDS]
