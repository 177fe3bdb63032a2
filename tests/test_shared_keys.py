"""Callbacks signed with a shared key, and what a proxy changes on the way: stored or explained."""

from collections.abc import Callable

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func, select

from smstracker.extensions import db
from smstracker.models import CallbackTally
from tests.clients import Person
from tests.refused_callbacks import explained, refused_rows, stored_events
from tests.signing import (
    BASE_URL,
    KEY_HEADER,
    STATUS_PATH,
    WEBHOOK_KEY,
    call_back,
    fields,
    sid,
    signature,
    spec_signature,
)

KEY, SECRET = WEBHOOK_KEY
KEYS = {"TWILIO_WEBHOOK_KEYS": f"{KEY}:{SECRET}"}


def post_by_key(
    client: FlaskClient, form: dict[str, str], header: str | None = KEY_HEADER, secret: str = SECRET
) -> int:
    url = BASE_URL + STATUS_PATH
    headers = {"X-Twilio-Signature": spec_signature(secret, url, form.items(), "sha256")}
    if header is not None:
        headers["X-Twilio-Webhooks-Signature-Settings"] = header
    return client.post(STATUS_PATH, data=form, headers=headers).status_code


def test_callback_signed_with_a_shared_key_is_stored_and_counted(
    make_app: Callable[..., Flask], alice: Person
) -> None:
    app = make_app(**KEYS)
    alice.has_message(twilio_sid=sid(1))
    assert post_by_key(app.test_client(), fields(sid(1), "sent")) == 204
    assert call_back(app.test_client(), fields(sid(1), "delivered")).status_code == 204
    assert [event.signed_with for event in stored_events(app)] == ["shared key", "primary"]
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
            KEY_HEADER,
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
            KEY_HEADER,
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
    named = {"X_Twilio_Webhooks_Signature_Settings": KEY_HEADER}
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
        assert replay(None, "Alice").applied == 1
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
