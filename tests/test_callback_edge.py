"""What is refused before it costs anything, and what verifies but is no status callback."""

import io
import time
from collections.abc import Callable, Mapping
from itertools import accumulate, pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import func, select
from werkzeug.datastructures import MultiDict

from smstracker.carrier.signatures import Signer, signed_fields
from smstracker.extensions import db
from smstracker.models import CallbackTally
from smstracker.models.events import StatusUpdate
from smstracker.refused import misfit
from smstracker.refused.status_callback import VerifiedCallback, read_callback
from smstracker.refused.stored_diagnosis import diagnose_pending
from smstracker.web.request_framing import MAX_CALLBACK_BYTES
from smstracker.webhooks import quarantine, views
from smstracker.webhooks.body import MAX_FIELDS
from smstracker.webhooks.writer import CallbackWriter
from tests.clients import Person, words
from tests.signing import (
    ACCOUNT_SID,
    BASE_URL,
    STATUS_PATH,
    call_back,
    fields,
    sid,
    signature,
)
from tests.test_callbacks import path_of, stored
from tests.test_quarantine import refused_rows
from tests.test_signatures import KEY, NAMED, SECRET, documented

FORM = "application/x-www-form-urlencoded"
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


def explained(app: Flask) -> str:
    """Why the only refusal was refused."""
    with app.app_context():
        diagnose_pending()
        db.session.commit()
    [row] = refused_rows(app)
    return row.diagnosis or ""


def post_by_key(
    client: FlaskClient, form: dict[str, str], header: str | None = NAMED, secret: str = SECRET
) -> int:
    url = BASE_URL + STATUS_PATH
    headers = {"X-Twilio-Signature": documented(secret, url, form.items(), "sha256")}
    if header is not None:
        headers["X-Twilio-Webhooks-Signature-Settings"] = header
    return client.post(STATUS_PATH, data=form, headers=headers).status_code


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
        {"X-Twilio-Signature": "A" * 27 + "=", "X-Twilio-Webhooks-Signature-Settings": NAMED},
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
    assert stored(app) == []
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


SERVICE = "MG" + "ab" * 16
CAPTURED = fields(
    sid(1), "undelivered", "30003", RawDlrDoneDate="2611220836", MessagingServiceSid=SERVICE
)
SIGNED = "".join(name + value for name, value in sorted(CAPTURED.items()))


def read_form(form: Mapping[str, str]) -> StatusUpdate | None:
    callback = VerifiedCallback(MultiDict(form), Signer(ACCOUNT_SID, "primary"), "")
    return read_callback(callback, None)


def recut(client: FlaskClient, form: dict[str, str], path: str = STATUS_PATH) -> int:
    headers = {"X-Twilio-Signature": signature(STATUS_PATH, CAPTURED)}
    return client.post(path, data=form, headers=headers).status_code


@pytest.mark.parametrize(
    "cuts",
    [
        [("MessageSid", "MessageStatus")],
        [("SmsSid", "SmsStatus"), ("MessageSid", "MessageStatus")],
        [("ApiVersion", "ErrorCode")],
        [("From", "MessageSid")],
        [("AccountSid", "ApiVersion")],
        [("ErrorCode", "From")],
        [("SmsStatus", "To")],
    ],
)
def test_field_glued_to_another_value_is_refused(
    app: Flask, client: FlaskClient, cuts: list[tuple[str, str]]
) -> None:
    form = dict(CAPTURED)
    for into, glued in cuts:
        form[into] += glued + form.pop(glued)
    assert recut(client, form) == 400
    assert stored(app) == []
    assert explained(app).startswith("Its signature fits, but its fields are not those")
    assert not refused_rows(app)[0].is_proven


def test_captured_callback_moved_into_the_path_is_refused(app: Flask, client: FlaskClient) -> None:
    form = {name: value for name, value in CAPTURED.items() if name != "AccountSid"}
    path = f"{STATUS_PATH}/1"
    signed = {"X-Twilio-Signature": signature(path, CAPTURED)}
    moved = f"{path}AccountSid{ACCOUNT_SID}"
    assert client.post(moved, data=form, headers=signed).status_code == 400
    assert stored(app) == []


@pytest.mark.parametrize("name", ["Body", "ErrorMessage", "ChannelStatusMessage", "Unheard"])
@pytest.mark.parametrize(
    "text",
    [
        "Alarm: ErrorCode503 on web1",
        "Alarm: ErrorCode503",
        "ErrorCode30003 from carrier",
        "Error To+14155552671 unreachable",
        "From+4915123456789",
        "MessageStatusdelivered?",
        "ApiVersion2010-04-01",
        f"AccountSid{ACCOUNT_SID}",
        "RawDlrDoneDate2611",
        f"MessageSid{sid(1)}",
    ],
)
@pytest.mark.parametrize("code", [None, "30003"])
def test_words_in_a_text_keep_no_callback_out(text: str, name: str, code: str | None) -> None:
    update = read_form(fields(sid(1), "failed", code, **{name: text}))
    assert update is not None
    assert (update.twilio_sid, update.status, update.error_code) == (sid(1), "failed", code)


@pytest.mark.parametrize("left_out", ["Message", "Sms"])
def test_words_in_a_text_keep_no_callback_out_that_names_each_fact_once(left_out: str) -> None:
    form = fields(sid(1), "sent", Body=f"SmsStatusfailed MessageSid{sid(2)} MessageStatusread")
    update = read_form(
        {name: value for name, value in form.items() if not name.startswith(left_out)}
    )
    assert update is not None
    assert (update.twilio_sid, update.status) == (sid(1), "sent")


def test_callback_with_words_in_its_text_moves_its_message(
    client: FlaskClient, alice: Person
) -> None:
    message = alice.has_message(twilio_sid=sid(1))
    form = fields(sid(1), "sent", Body="Alarm: ErrorCode503 on web1")
    assert call_back(client, form, path_of(message)).status_code == 204
    assert alice.message().status == "sent"


def test_callback_that_was_refused_for_words_in_its_text_is_applied_by_a_replay(
    app: Flask, client: FlaskClient, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    from smstracker.refused.replay import replay

    message = alice.has_message(twilio_sid=sid(1))
    with monkeypatch.context() as former:
        former.setattr(misfit, "is_recut", lambda *_: True)
        form = fields(sid(1), "sent", Body="From+4915123456789")
        assert call_back(client, form, path_of(message)).status_code == 400
    with app.app_context():
        assert replay(None).applied == 1
    assert alice.message().status == "sent"


def test_text_of_a_callback_is_not_kept(app: Flask, client: FlaskClient) -> None:
    call_back(client, fields(sid(1), "sent", Body="My secret diagnosis", Unheard="of"))
    [event] = stored(app)
    assert "Body" not in event.payload
    assert event.payload["Unheard"] == "of"


def test_text_that_its_sender_chose_cannot_move_another_message(client: FlaskClient) -> None:
    words = f"MessageSid{sid(2)}MessageStatusfailedSmsSid{sid(2)}SmsStatusfailedZ"
    capture = fields(sid(1), "delivered", Body=words)
    recut_form = {"AccountSid": ACCOUNT_SID, "ApiVersion": "2010-04-01", "Body": ""}
    recut_form |= {"MessageSid": sid(2), "MessageStatus": "failed"}
    recut_form |= {"SmsSid": sid(2), "SmsStatus": "failed"}
    rest = {name: value for name, value in capture.items() if name not in ("AccountSid", "Body")}
    del rest["ApiVersion"]
    recut_form["Z"] = "".join(name + value for name, value in sorted(rest.items()))
    signed = {"X-Twilio-Signature": signature(STATUS_PATH, capture)}
    assert signature(STATUS_PATH, recut_form) == signature(STATUS_PATH, capture)
    assert client.post(STATUS_PATH, data=recut_form, headers=signed).status_code == 400
    assert call_back(client, capture).status_code == 204


@pytest.mark.parametrize(
    "second",
    [
        ("AccountSid", "AC" + "5" * 32),
        ("ErrorCode", "30007"),
        ("MessageSid", sid(2)),
        ("SmsSid", sid(2)),
        ("MessageStatus", "sent"),
        ("SmsStatus", "sent"),
    ],
)
def test_callback_with_two_values_for_one_fact_is_refused(
    app: Flask, client: FlaskClient, second: tuple[str, str]
) -> None:
    form = MultiDict([*CAPTURED.items(), second])
    assert call_back(client, form).status_code == 400
    assert refused_rows(app)[0].reason == "recut"


def division(*names: str) -> dict[str, str]:
    """The signed text of `CAPTURED`, divided where these names stand, one after the other."""
    starts = [SIGNED.index(names[0])]
    for name in names[1:]:
        starts.append(SIGNED.index(name, starts[-1] + 1))
    pieces = [SIGNED[at:end] for at, end in pairwise([*starts, len(SIGNED)])]
    assert "".join(pieces) == SIGNED
    return {name: piece[len(name) :] for name, piece in zip(names, pieces, strict=True)}


MESSAGE = ("MessageSid", "MessageStatus", "MessagingServiceSid")
FIRST = ("AccountSid", "ApiVersion", "ErrorCode", "From")
LAST = ("RawDlrDoneDate", "SmsSid", "SmsStatus", "To")


@pytest.mark.parametrize(
    "names",
    [
        ("AccountSid", "ApiVersion", "Code", "From", *MESSAGE, *LAST),
        ("AccountSid", "Api", "From", *MESSAGE, *LAST),
        ("AccountSid", "ApiVersion2010", "From", *MESSAGE, *LAST),
        ("Account", "ErrorCode", "From", *MESSAGE, *LAST),
        ("AccountSid", "ApiVersion", "ErrorCode", "Fro", "SmsSid", "SmsStatus", "To"),
        ("AccountSid", "ApiVersion", "ErrorCode", "F", "SmsSid", "SmsStatus", "deliveredTo"),
        ("AccountSid", "C111", "SmsSid", "SmsStatus", "To"),
        ("AccountSid", "ApiVersion", "ErrorCode", "From", "MessageS", *LAST),
        (*FIRST, "MessageSid", "MessageStatus", "ivered"),
        (*FIRST, *MESSAGE, "abab"),
        (*FIRST, "MessageSid", "MessageStatus", "MessagingService", "SmsSid", "SmsStatus", "To"),
    ],
)
def test_captured_callback_that_is_divided_within_its_names_is_refused(
    app: Flask, client: FlaskClient, names: tuple[str, ...]
) -> None:
    assert recut(client, division(*names)) == 400
    assert refused_rows(app)[0].reason == "recut"


@pytest.mark.parametrize("sender", ["CLINIC", "12345", "whatsapp:+15005550006"])
def test_sender_that_is_glued_to_an_error_code_is_refused(client: FlaskClient, sender: str) -> None:
    form = fields(sid(1), "undelivered") | {"ErrorCode": f"30003From{sender}"}
    assert call_back(client, form).status_code == 400


def test_status_that_the_next_name_goes_on_with_is_refused(app: Flask, client: FlaskClient) -> None:
    capture = {name: CAPTURED[name] for name in ("AccountSid", "SmsSid", "SmsStatus", "To")}
    form = {"AccountSid": ACCOUNT_SID, "SmsSid": sid(1), "SmsStatus": "un"}
    signed = {"X-Twilio-Signature": signature(STATUS_PATH, capture)}
    for number, end in enumerate([{"deliveredTo": capture["To"]}, {"delivered": "To+15558675310"}]):
        answer = client.post(STATUS_PATH, data=form | end, headers=signed)
        assert answer.status_code == 400
        assert len(refused_rows(app)) == number + 1


def test_address_whose_end_was_moved_into_a_name_is_refused(client: FlaskClient) -> None:
    signed = {"X-Twilio-Signature": signature(f"{STATUS_PATH}/1", CAPTURED)}
    form = {name: value for name, value in CAPTURED.items() if name != "AccountSid"}
    form["1AccountSid"] = ACCOUNT_SID
    assert client.post(f"{STATUS_PATH}/", data=form, headers=signed).status_code == 400


@st.composite
def divisions(draw: st.DrawFn) -> MultiDict[str, str]:
    """The signed text of a capture in other fields: most of them as they are, some cut anywhere."""
    form: MultiDict[str, str] = MultiDict()
    ends = list(accumulate(len(name + value) for name, value in sorted(CAPTURED.items())))
    cuts = [end for end in ends if draw(st.integers(0, 3))]
    cuts += draw(st.lists(st.integers(1, len(SIGNED) - 1), max_size=2))
    usual = {
        end - len(name + CAPTURED[name]): name
        for end, name in zip(ends, sorted(CAPTURED), strict=True)
    }
    for start, end in pairwise(sorted({0, *cuts, len(SIGNED)})):
        name = usual.get(start, "")
        size = len(name) if name and draw(st.booleans()) else draw(st.integers(1, end - start))
        form.add(SIGNED[start : min(start + size, end)], SIGNED[min(start + size, end) : end])
    return form


@hypothesis_settings(
    max_examples=300,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)
@given(divisions())
def test_no_division_of_a_captured_callback_tells_anything_else(
    form: MultiDict[str, str],
) -> None:
    """Of a capture without texts, as Twilio sends them."""
    if signed_fields(form) != SIGNED:
        return  # it does not verify
    update = read_form(form)
    if update is not None:
        assert (update.twilio_sid, update.error_code) == (sid(1), "30003")
        assert (update.status, update.carrier_done_at) == ("undelivered", "2611220836")


def test_same_event_is_only_counted(app: Flask, client: FlaskClient, alice: Person) -> None:
    message = alice.has_message(twilio_sid=sid(1))
    for _ in range(30):
        token = {"I_Twilio_Idempotency_Token": "token-1"}
        answer = call_back(client, fields(sid(1), "sent"), path_of(message), **token)
        assert answer.status_code == 204
    [event] = alice.events(message)
    assert (event.repeats, event.status) == (29, "sent")
    assert "repeated 29 times" in words(alice.get(f"/messages/{message.public_id}").text)
    with app.app_context():
        assert db.session.scalar(select(func.sum(CallbackTally.repeated))) == 29


@pytest.mark.parametrize("is_ours", [True, False])
def test_capture_replayed_with_ever_new_tokens_is_bounded(
    app: Flask, client: FlaskClient, alice: Person, is_ours: bool
) -> None:
    if is_ours:
        alice.has_message(twilio_sid=sid(1))
    for number in range(40):
        token = {"I_Twilio_Idempotency_Token": f"token-{number}"}
        assert call_back(client, fields(sid(1), "sent"), **token).status_code == 204
    events = stored(app)
    assert len(events) == 20
    assert sum(event.repeats for event in events) == 20
    assert call_back(client, fields(sid(1), "delivered")).status_code == 204
    assert stored(app)[-1].status == "delivered"


def test_repeat_of_an_orphan_is_only_counted_and_still_attached(
    app: Flask, client: FlaskClient, alice: Person
) -> None:
    message = alice.has_message(status="pending")
    for _ in range(3):
        call_back(client, fields(sid(1), "delivered"))
    assert [event.repeats for event in stored(app)] == [2]
    call_back(client, fields(sid(1), "sent"), path_of(message))
    assert alice.message().status == "delivered"


def test_callback_signed_with_a_shared_key_is_stored_and_counted(
    make_app: Callable[..., Flask], alice: Person
) -> None:
    app = make_app(**KEYS)
    alice.has_message(twilio_sid=sid(1))
    assert post_by_key(app.test_client(), fields(sid(1), "sent")) == 204
    assert call_back(app.test_client(), fields(sid(1), "delivered")).status_code == 204
    assert [event.signed_with for event in stored(app)] == ["shared key", "primary"]
    assert alice.message().status == "delivered"
    with app.app_context():
        assert db.session.scalar(select(func.sum(CallbackTally.by_key))) == 1


@pytest.mark.parametrize(
    ("header", "secret", "form", "sentence", "setting", "is_proven"),
    [
        (
            "key=webhooks_sharedkey_2,algorithm=HMAC_SHA256",
            SECRET,
            {},
            "Valid with another shared key than the webhooks_sharedkey_2 ",
            "TWILIO_WEBHOOK_KEYS",
            True,
        ),
        (
            "key=webhooks_sharedkey_2,algorithm=HMAC_SHA256",
            "x",
            {},
            "It names the shared key webhooks_sharedkey_2, which TWILIO_WEBHOOK_KEYS lacks: ",
            "TWILIO_WEBHOOK_KEYS",
            False,
        ),
        (
            NAMED,
            "x",
            {},
            f"It names the shared key {KEY}, which did not sign it: compare its secret ",
            "TWILIO_WEBHOOK_KEYS",
            False,
        ),
        (
            f"key={KEY},algorithm=HMAC_SHA512",
            SECRET,
            {},
            "This version does not know the algorithm that signed it: ",
            None,
            False,
        ),
        (
            "algorithm=HMAC_SHA256",
            SECRET,
            {},
            "The header X-Twilio-Webhooks-Signature-Settings names no key: ",
            None,
            False,
        ),
        (
            None,
            SECRET,
            {},
            f"Valid with the shared key {KEY}, but the header X-Twilio-Webhooks-Signature-Settings "
            "is missing: a proxy drops it; ",
            None,
            True,
        ),
        (
            None,
            "x",
            {},
            "Its signature is as long as a shared key's, but the header ",
            None,
            False,
        ),
        (
            NAMED,
            SECRET,
            {"AccountSid": "AC" + "5" * 32},
            f"Twilio signed it with the shared key {KEY}, but it does not name ",
            None,
            True,
        ),
    ],
)
def test_refused_callback_of_a_shared_key_is_explained(
    make_app: Callable[..., Flask],
    header: str | None,
    secret: str,
    form: dict[str, str],
    sentence: str,
    setting: str | None,
    is_proven: bool,
) -> None:
    app = make_app(**KEYS)
    assert post_by_key(app.test_client(), fields(sid(1), "sent") | form, header, secret) == 403
    assert explained(app).startswith(sentence)
    [row] = refused_rows(app)
    assert (row.setting, row.is_proven, row.signature_settings) == (setting, is_proven, header)


def test_shared_key_whose_rule_signs_by_an_older_algorithm_is_explained(
    make_app: Callable[..., Flask],
) -> None:
    app = make_app(**KEYS)
    form = fields(sid(1), "sent")
    headers = {
        "X-Twilio-Signature": signature(STATUS_PATH, form, SECRET),
        "X-Twilio-Webhooks-Signature-Settings": f"key={KEY},algorithm=HMAC_SHA1",
    }
    answer = app.test_client().post(STATUS_PATH, data=form, headers=headers)
    assert answer.status_code == 403
    assert "set HMAC_SHA256 in the rule at Twilio" in explained(app)


def test_header_that_a_proxy_adds_is_explained(make_app: Callable[..., Flask]) -> None:
    app = make_app(**KEYS)
    named = {"X_Twilio_Webhooks_Signature_Settings": NAMED}
    assert call_back(app.test_client(), fields(sid(1), "sent"), **named).status_code == 403
    assert explained(app).startswith("Valid with an Auth Token, but the header ")


def test_callback_of_a_shared_key_is_replayed_once_the_key_is_set(
    make_app: Callable[..., Flask], alice: Person
) -> None:
    from smstracker.refused.replay import replay

    message = alice.has_message(twilio_sid=sid(1))
    assert post_by_key(make_app().test_client(), fields(sid(1), "delivered")) == 403
    app = make_app(**KEYS)
    with app.app_context():
        assert replay(None).applied == 1
    assert alice.message().status == "delivered"
    assert alice.events(message)[0].signed_with == "shared key"


@pytest.mark.parametrize(
    ("asked", "signed", "sentence"),
    [
        ("a=1&b=2", "b=2&a=1", "Valid with the query in another order: a proxy sorts it; "),
        ("a=1&b=2&c=3", "c=3&a=1&b=2", "Valid with the query in another order: "),
        ("x=a/b", "x=a%2Fb", "Valid with the query escaped in another way: a proxy rewrites it; "),
        ("x=~", "x=%7E", "Valid with the query escaped in another way: "),
        ("x=%7E", "x=~", "Valid with the query escaped in another way: "),
        ("x=a+b", "x=a%20b", "Valid with the query escaped in another way: "),
        ("x=a%20b", "x=a+b", "Valid with the query escaped in another way: "),
        ("x=a%2Fb", "x=a%2fb", "Valid with the query escaped in another way: "),
        ("x=%C3%BC/y", "x=%c3%bc%2fy", "Valid with the query escaped in another way: "),
    ],
)
def test_query_that_a_proxy_changed_is_refused_and_explained(
    app: Flask, client: FlaskClient, asked: str, signed: str, sentence: str
) -> None:
    path = f"{STATUS_PATH}?{asked}"
    answer = call_back(client, fields(sid(1), "sent"), path, signed_path=f"{STATUS_PATH}?{signed}")
    assert answer.status_code == 403
    assert explained(app).startswith(sentence)


def test_host_in_another_case_is_explained(make_app: Callable[..., Flask]) -> None:
    app = make_app(PUBLIC_BASE_URL="https://SMS.example.org")
    assert call_back(app.test_client(), fields(sid(1), "sent")).status_code == 403
    assert explained(app).startswith(
        "Valid for https://sms.example.org, but PUBLIC_BASE_URL is https://SMS.example.org: "
    )


@pytest.mark.parametrize("asked", [STATUS_PATH, f"{STATUS_PATH}?"])
@pytest.mark.parametrize("signed", [STATUS_PATH, f"{STATUS_PATH}?"])
def test_lone_question_mark_verifies(client: FlaskClient, asked: str, signed: str) -> None:
    answer = client.post(
        STATUS_PATH,
        data=fields(sid(1), "sent"),
        headers={"X-Twilio-Signature": signature(signed, fields(sid(1), "sent"))},
        environ_overrides={"REQUEST_URI": asked, "RAW_URI": asked},
    )
    assert answer.status_code == 204


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
