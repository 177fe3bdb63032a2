"""The edge that Twilio posts to: what is let in, and what everything else is answered."""

import io
import logging
import random
from collections.abc import Callable
from urllib.parse import urlencode

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func, select

from smstracker.extensions import db
from smstracker.models import StatusEvent
from tests.clients import Person
from tests.signing import (
    BASE_URL,
    SECONDARY,
    STATUS_PATH,
    call_back,
    fields,
    sid,
    signature,
)


def count_events(app: Flask) -> int:
    with app.app_context():
        return db.session.scalar(select(func.count()).select_from(StatusEvent)) or 0


def test_unsigned_callback_is_refused_and_changes_nothing(
    client: FlaskClient, alice: Person
) -> None:
    message = alice.has_message(twilio_sid=sid(1))
    answer = client.post(f"{STATUS_PATH}/{message.public_id}", data=fields(sid(1), "delivered"))
    assert answer.status_code == 403
    assert alice.message().status == "queued"
    assert alice.events(message) == []


def test_callback_signed_with_a_foreign_token_is_refused(app: Flask, client: FlaskClient) -> None:
    answer = call_back(client, fields(sid(1), "sent"), token="f" * 32)
    assert answer.status_code == 403
    assert count_events(app) == 0


def test_callback_signed_with_the_secondary_token_is_stored(
    app: Flask, client: FlaskClient
) -> None:
    assert call_back(client, fields(sid(1), "sent"), token=SECONDARY).status_code == 204
    assert count_events(app) == 1


def test_signature_covers_the_path(client: FlaskClient) -> None:
    answer = call_back(client, fields(sid(1), "sent"), signed_path=f"{STATUS_PATH}/other")
    assert answer.status_code == 403


@pytest.mark.parametrize("query", ["a=1&b=2", "id=a%2Fb", "x=%7E%27", "name=%C3%BC", "empty="])
def test_signature_covers_the_query_as_it_was_sent(client: FlaskClient, query: str) -> None:
    path = f"{STATUS_PATH}?{query}"
    assert call_back(client, fields(sid(1), "sent"), path).status_code == 204
    assert call_back(client, fields(sid(1), "sent"), path + "1").status_code == 204
    unsigned = call_back(client, fields(sid(1), "sent"), path, signed_path=STATUS_PATH)
    assert unsigned.status_code == 403


@pytest.mark.parametrize("path", ["/webhooks//twilio/status", "/webhooks/twilio//status//"])
def test_doubled_slash_is_no_reason_to_lose_a_callback(
    app: Flask, client: FlaskClient, path: str
) -> None:
    assert call_back(client, fields(sid(1), "sent"), path).status_code == 204
    assert (
        call_back(client, fields(sid(1), "sent"), path, signed_path=STATUS_PATH).status_code == 403
    )
    assert count_events(app) == 1


def test_signature_is_checked_against_the_configured_address_not_the_host(
    client: FlaskClient,
) -> None:
    form = fields(sid(1), "sent")
    headers = {"X-Twilio-Signature": signature(STATUS_PATH, form), "X-Forwarded-Proto": "http"}
    answer = client.post(STATUS_PATH, data=form, headers=headers, base_url="http://10.0.0.7:8000")
    assert answer.status_code == 204
    forged = signature(STATUS_PATH, form, base="http://10.0.0.7:8000")
    headers["X-Twilio-Signature"] = forged
    answer = client.post(STATUS_PATH, data=form, headers=headers, base_url="http://10.0.0.7:8000")
    assert answer.status_code == 403


def test_signature_may_name_the_default_port(client: FlaskClient) -> None:
    form = fields(sid(1), "sent")
    signed = signature(STATUS_PATH, form, base=f"{BASE_URL}:443")
    answer = client.post(STATUS_PATH, data=form, headers={"X-Twilio-Signature": signed})
    assert answer.status_code == 204


@pytest.mark.parametrize(
    "form",
    [
        fields(sid(1), "sent", Empty="", Blank="  both ends  "),
        fields(sid(1), "sent", Text="Fenêtre — 窓 🚀 'quoted' ~ + & ="),
        fields(sid(1), "sent") | {"Twice": ["b", "a", "a"]},
        {f"Field{n}": str(n) for n in range(500)} | fields(sid(1), "sent"),
    ],
)
def test_signature_covers_every_field_as_it_is(client: FlaskClient, form: dict[str, str]) -> None:
    assert call_back(client, form).status_code == 204


def test_dropping_an_empty_field_breaks_the_signature(client: FlaskClient) -> None:
    signed = signature(STATUS_PATH, fields(sid(1), "sent", Empty=""))
    answer = client.post(
        STATUS_PATH, data=fields(sid(1), "sent"), headers={"X-Twilio-Signature": signed}
    )
    assert answer.status_code == 403


@pytest.mark.parametrize(
    "form",
    [
        {"MessageStatus": "sent"},
        {"MessageSid": sid(1)},
        {"MessageSid": "", "MessageStatus": "sent"},
        {"MessageSid": sid(1), "MessageStatus": ""},
        {"MessageSid": "SM\0", "MessageStatus": "sent"},
        {"MessageSid": "S" * 65, "MessageStatus": "sent"},
    ],
)
def test_signed_callback_without_sid_or_status_is_a_400(
    app: Flask, client: FlaskClient, form: dict[str, str]
) -> None:
    assert call_back(client, form).status_code == (400)
    assert count_events(app) == 0


@pytest.mark.parametrize("method", ["get", "head", "options", "put", "delete", "patch"])
def test_other_methods_are_a_405(client: FlaskClient, method: str) -> None:
    answer = getattr(client, method)(STATUS_PATH)
    assert answer.status_code == 405
    assert "POST" in answer.headers["Allow"]


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "multipart/form-data", ""])
def test_what_is_not_a_form_is_a_415(client: FlaskClient, kind: str) -> None:
    assert client.post(STATUS_PATH, data=b"{}", content_type=kind).status_code == 415


def test_form_with_a_charset_is_a_form(client: FlaskClient) -> None:
    form = fields(sid(1), "sent")
    answer = client.post(
        STATUS_PATH,
        data=form,
        headers={"X-Twilio-Signature": signature(STATUS_PATH, form)},
        content_type="application/x-www-form-urlencoded; charset=UTF-8",
    )
    assert answer.status_code == 204


def test_too_large_callback_is_a_413(client: FlaskClient) -> None:
    assert call_back(client, fields(sid(1), "sent", Huge="x" * 140_000)).status_code == 413


@pytest.mark.parametrize(("size", "code"), [(140_000, 413), (1000, 204)])
def test_body_of_no_stated_length_is_limited_too(client: FlaskClient, size: int, code: int) -> None:
    form = fields(sid(1), "sent", Huge="x" * size)
    answer = client.post(
        STATUS_PATH,
        input_stream=io.BytesIO(urlencode(form).encode()),
        headers={
            "X-Twilio-Signature": signature(STATUS_PATH, form),
            "Transfer-Encoding": "chunked",
        },
        content_type="application/x-www-form-urlencoded",
        environ_overrides={"wsgi.input_terminated": True},
    )
    assert answer.status_code == code


def test_rubbish_never_gives_a_500(app: Flask, client: FlaskClient) -> None:
    chance = random.Random(7)
    for _ in range(150):
        body = chance.randbytes(chance.randrange(200))
        signed = chance.choice(["", "ü", "a" * 28, body[:28].decode("latin-1")])
        headers = {"X-Twilio-Signature": "".join(c for c in signed if c.isprintable())}
        answer = client.post(
            f"{STATUS_PATH}?{chance.randbytes(5).hex()}=%ff%00",
            data=body,
            headers=headers,
            content_type="application/x-www-form-urlencoded",
        )
        assert answer.status_code == 403
    assert count_events(app) == 0


def test_callback_needs_no_csrf_token_and_no_session(client: FlaskClient) -> None:
    answer = call_back(client, fields(sid(1), "sent"))
    assert answer.status_code == 204
    assert "Set-Cookie" not in answer.headers


def test_callback_that_cannot_be_stored_is_a_503(
    make_app: Callable[..., Flask], caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(DATABASE_URL="sqlite:////nowhere/at/all.sqlite")
    with caplog.at_level(logging.ERROR):
        answer = call_back(app.test_client(), fields(sid(1), "sent"))
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert "callback_not_stored" in caplog.messages
