"""What is refused is kept as it came, before the refusal is answered, and applied to nothing."""

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
import time_machine
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func, select, update
from sqlalchemy.exc import InternalError
from twilio.request_validator import RequestValidator

from smstracker.clock import utcnow
from smstracker.extensions import db
from smstracker.models import CallbackTally, RefusedCallback, StatusEvent
from smstracker.refused.stored_diagnosis import diagnose_pending
from smstracker.webhooks import quarantine, writer
from tests.clients import Person
from tests.refused_callbacks import NOON, STRANGER, refused_count, refused_rows
from tests.signing import ACCOUNT_SID, PRIMARY, STATUS_PATH, call_back, fields, forge, sid

pytestmark = pytest.mark.both_databases


FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=x"
PARTS = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n' * 300


def test_forged_callback_is_kept_with_all_that_explains_it(
    app: Flask, client: FlaskClient, alice: Person
) -> None:
    message = alice.has_message(twilio_sid=sid(1))
    path = f"{STATUS_PATH}/{message.public_id}?a=%2F&b"
    form = fields(sid(1), "delivered")
    with time_machine.travel(NOON, tick=False):
        answer = call_back(
            app.test_client(),
            form,
            path,
            token="f" * 32,
            X_Forwarded_Host="sms.example.org",
            X_Forwarded_Proto="http",
            I_Twilio_Idempotency_Token="token-1",
            Host="10.0.0.7:8000",
        )
    assert answer.status_code == 403
    [row] = refused_rows(app)
    assert (row.reason, row.is_plausible, row.target) == ("signature", True, path)
    assert (row.sent_host, row.forwarded_host) == ("10.0.0.7:8000", "sms.example.org")
    assert (row.forwarded_proto, row.content_type) == ("http", FORM)
    assert (row.idempotency_token, len(row.signature or "")) == ("token-1", 28)
    assert (row.body, row.body_length) == (urlencode(form).encode(), len(urlencode(form)))
    assert (row.account_sid, row.twilio_sid, row.status) == (ACCOUNT_SID, sid(1), "delivered")
    assert (row.count, row.first_at, row.last_at, row.replayed_at) == (1, NOON, NOON, None)
    assert alice.message().status == "queued"
    assert alice.events(message) == []


@pytest.mark.both_databases(every_case=True)
@pytest.mark.parametrize(
    ("path", "sent", "code", "reason"),
    [
        (STATUS_PATH, {"data": b"{}", "content_type": "application/json"}, 415, "not-a-form"),
        (STATUS_PATH, {"data": b"", "content_type": ""}, 415, "not-a-form"),
        (STATUS_PATH, {"data": PARTS, "content_type": MULTIPART}, 415, "not-a-form"),
        (STATUS_PATH, {"data": b"", "content_type": FORM}, 403, "signature"),
        (STATUS_PATH, {"data": b"\xff\0=%ff%00&", "content_type": FORM}, 403, "signature"),
        (STATUS_PATH, {"data": b"x" * 140_000, "content_type": FORM}, 413, "too-large"),
        (f"{STATUS_PATH}/a/b", {"data": b"a=1", "content_type": FORM}, 404, "address"),
        ("/webhooks/twilio/sms", {"data": b"a=1", "content_type": FORM}, 404, "address"),
        ("/webhooks/twilio/", {"data": b"a=1", "content_type": FORM}, 404, "address"),
        ("/webhooks/twilio", {"data": b"a=1", "content_type": FORM}, 404, "address"),
    ],
)
def test_whatever_is_refused_is_kept(
    app: Flask, client: FlaskClient, path: str, sent: dict[str, Any], code: int, reason: str
) -> None:
    assert client.post(path, **sent).status_code == code
    [row] = refused_rows(app)
    assert (row.reason, row.target, row.is_plausible) == (reason, path, False)
    assert row.body_length == len(sent["data"])
    assert row.body == (b"" if code == 413 else sent["data"][: 16 * 1024])
    assert refused_count(app) == 1


def test_signed_callback_without_a_status_is_kept(app: Flask, client: FlaskClient) -> None:
    assert call_back(client, {"MessageSid": sid(1)}).status_code == 400
    [row] = refused_rows(app)
    assert (row.reason, row.twilio_sid, row.status) == ("unreadable", sid(1), None)


def test_name_of_a_field_that_is_no_name_is_not_kept(app: Flask, client: FlaskClient) -> None:
    call_back(client, {"SmsStatus": "received", "+15558675310": "", "15558675310": ""})
    [row] = refused_rows(app)
    assert row.body == b"SmsStatus=received"


def test_other_methods_are_not_kept(app: Flask, client: FlaskClient) -> None:
    assert client.get(STATUS_PATH).status_code == 405
    assert client.put("/webhooks/twilio/sms").status_code == 405
    assert refused_rows(app) == []


@pytest.mark.parametrize("suffix", ["/", f"/{uuid.UUID(int=7)}/"])
def test_slash_at_the_end_is_part_of_what_is_signed_and_no_redirect(
    app: Flask, client: FlaskClient, suffix: str
) -> None:
    assert call_back(client, fields(sid(1), "sent"), STATUS_PATH + suffix).status_code == 204
    without = suffix.rstrip("/")
    answer = call_back(
        client, fields(sid(1), "sent"), STATUS_PATH + suffix, signed_path=STATUS_PATH + without
    )
    assert answer.status_code == 403
    assert refused_rows(app)[0].target == STATUS_PATH + suffix


def test_identical_repeats_are_one_row_with_a_count(app: Flask, client: FlaskClient) -> None:
    with time_machine.travel(NOON, tick=False) as clock:
        for _ in range(3):
            assert forge(client).status_code == 403
            clock.shift(60)
        forge(client, 2)
    first, second = refused_rows(app)
    assert (first.count, second.count) == (3, 1)
    assert (first.first_at, first.last_at) == (NOON, NOON + timedelta(minutes=2))
    assert second.id == first.id + 1
    assert refused_count(app) == 4


def test_body_is_cut_at_16_kb_and_its_length_is_kept(app: Flask, client: FlaskClient) -> None:
    form = fields(sid(1), "sent", Huge="x" * 20_000)
    assert call_back(client, form, token="f" * 32).status_code == 403
    [row] = refused_rows(app)
    assert (len(row.body), row.body_length) == (16 * 1024, len(urlencode(form)))


@pytest.mark.both_databases(every_case=True)
@pytest.mark.parametrize("value", ["a\0b", "x" * 100_000, "ü€"])
def test_strange_values_are_kept_cut_to_what_a_column_holds(
    app: Flask, client: FlaskClient, value: str
) -> None:
    names = ("HTTP_X_TWILIO_SIGNATURE", "HTTP_X_FORWARDED_HOST", "HTTP_X_FORWARDED_PROTO")
    names += ("HTTP_HOST", "HTTP_I_TWILIO_IDEMPOTENCY_TOKEN")
    raw = value.encode().decode("latin-1")
    environ = dict.fromkeys(names, raw) | {"REQUEST_URI": f"{STATUS_PATH}?{raw}"}
    form = fields(value[:1000], value[:1000], AccountSid=value[:1000])
    answer = client.post(STATUS_PATH, data=form, environ_overrides=environ)
    assert answer.status_code == 403
    [row] = refused_rows(app)
    assert row.signature == raw.replace("\0", "")[:128]
    assert row.twilio_sid == value.replace("\0", "")[:64]
    assert len(row.target) <= 2048


def test_announced_length_that_no_column_holds_is_kept_as_the_largest(
    app: Flask, client: FlaskClient
) -> None:
    headers = {"Content-Type": FORM}
    length = {"CONTENT_LENGTH": "9" * 18}
    assert client.post(STATUS_PATH, headers=headers, environ_overrides=length).status_code == 413
    assert refused_rows(app)[-1].body_length == 2**31 - 1


def test_request_whose_sender_hangs_up_is_not_kept(app: Flask, client: FlaskClient) -> None:
    length = {"CONTENT_LENGTH": "100"}
    answer = client.post(STATUS_PATH, data=b"a=1", content_type=FORM, environ_overrides=length)
    assert answer.status_code == 400
    assert refused_rows(app) == []


def test_strangest_and_oldest_are_evicted_first(make_app: Callable[..., Flask]) -> None:
    app = make_app(REFUSED_CALLBACKS_KEPT="5")
    client = app.test_client()
    for number in range(4):
        forge(client, number)
    for number in range(4, 7):
        forge(client, number, STRANGER)
    assert [row.twilio_sid for row in refused_rows(app)] == [*map(sid, range(4)), sid(6)]
    for number in range(7, 10):
        forge(client, number)
    assert [row.twilio_sid for row in refused_rows(app)] == [
        sid(2),
        sid(3),
        *map(sid, range(7, 10)),
    ]
    forge(client, 10, STRANGER)
    assert sid(10) not in {row.twilio_sid for row in refused_rows(app)}


def test_full_quarantine_is_never_over_its_bound(make_app: Callable[..., Flask]) -> None:
    apps = [make_app(REFUSED_CALLBACKS_KEPT="30") for _ in range(2)]
    for number in range(45):
        forge(apps[number % 2].test_client(), number)
        if number % 10 == 0:
            assert len(refused_rows(apps[0])) <= 30
    rows = refused_rows(apps[0])
    assert len(rows) >= 25
    assert rows[-1].twilio_sid == sid(44)


def test_old_ones_are_purged_unless_they_still_come(
    make_app: Callable[..., Flask],
) -> None:
    app = make_app(REFUSED_CALLBACKS_DAYS="3")
    with time_machine.travel(NOON, tick=False) as clock:
        forge(app.test_client(), 1)
        forge(app.test_client(), 2)
        clock.shift(timedelta(days=2))
        forge(app.test_client(), 2)
    with app.app_context():
        assert RefusedCallback.purge(NOON + timedelta(days=3, hours=1)) == 1
        db.session.commit()
    assert [row.twilio_sid for row in refused_rows(app)] == [sid(2)]


@pytest.mark.parametrize(("account", "code"), [(ACCOUNT_SID, 503), (STRANGER, 403)])
def test_dead_database_lets_only_a_plausible_one_come_again(
    make_app: Callable[..., Flask], account: str, code: int
) -> None:
    app = make_app(DATABASE_URL="sqlite:////nowhere/at/all.sqlite")
    answer = forge(app.test_client(), account=account)
    assert answer.status_code == code
    assert ("Retry-After" in answer.headers) == (code == 503)


def test_one_that_cannot_be_kept_stays_refused_and_costs_no_other_its_place(
    app: Flask, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unfit(*_args: object) -> bool:
        raise ValueError("does not fit")

    monkeypatch.setattr(writer.RefusedCallback, "store", unfit)
    assert forge(client).status_code == 403
    assert call_back(client, fields(sid(1), "sent")).status_code == 204
    monkeypatch.setattr(quarantine, "read_refused_request", unfit)
    assert forge(client).status_code == 403
    assert refused_rows(app) == []


def test_refused_and_accepted_share_a_transaction(app: Flask, client: FlaskClient) -> None:
    forge(client)
    call_back(client, fields(sid(1), "sent"))
    with app.app_context():
        assert db.session.scalar(select(func.count()).select_from(StatusEvent)) == 1
        [tally] = db.session.scalars(select(CallbackTally))
    assert (tally.accepted, tally.refused) == (1, 1)


def test_callback_to_the_address_of_the_probe_is_not_taken_for_stored_nor_kept(
    app: Flask, client: FlaskClient
) -> None:
    answer = call_back(client, fields(sid(1), "sent"), "/webhooks/twilio/probe")
    assert answer.status_code == 404
    with app.app_context():
        assert db.session.scalars(select(RefusedCallback.reason)).all() == []


def test_applied_ones_are_evicted_before_those_that_wait(make_app: Callable[..., Flask]) -> None:
    app = make_app(REFUSED_CALLBACKS_KEPT="2")
    client = app.test_client()
    for number in (1, 2):
        call_back(client, fields(sid(number), "sent"), token="f" * 32)
    with app.app_context():
        newest = select(func.max(RefusedCallback.id)).scalar_subquery()
        applied = update(RefusedCallback).where(RefusedCallback.id == newest)
        db.session.execute(applied.values(replayed_at=utcnow()))
        db.session.commit()
    call_back(client, fields(sid(3), "sent"), token="f" * 32)
    with app.app_context():
        kept = db.session.scalars(select(RefusedCallback.twilio_sid))
        assert set(kept) == {sid(1), sid(3)}


def test_plausible_one_that_cannot_be_kept_is_asked_for_again(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(*_args: object) -> bool:
        raise InternalError("INSERT", {}, Exception("read-only transaction"))

    monkeypatch.setattr(RefusedCallback, "store", read_only)
    assert call_back(client, fields(sid(1), "sent"), token="f" * 32).status_code == 503
    strange = fields(sid(1), "sent", AccountSid="AC" + "9" * 32)
    assert call_back(client, strange, token="f" * 32).status_code == 403


@pytest.mark.parametrize("token", [None, "f" * 32])
def test_flood_in_our_name_does_not_push_out_what_one_of_our_tokens_signed(
    make_app: Callable[..., Flask], token: str | None
) -> None:
    app = make_app(REFUSED_CALLBACKS_KEPT="10", PUBLIC_BASE_URL="https://old.example.org")
    client = app.test_client()
    signed = RequestValidator(PRIMARY).compute_signature(
        f"http://old.example.org{STATUS_PATH}", fields(sid(2), "sent")
    )
    client.post(STATUS_PATH, data=fields(sid(2), "sent"), headers={"X-Twilio-Signature": signed})
    with app.app_context():
        diagnose_pending()
        db.session.commit()
    for number in range(10, 30):
        if token:
            call_back(client, fields(sid(number), "sent"), token=token)
        else:
            forge(client, number)
    assert sid(2) in {row.twilio_sid for row in refused_rows(app)}


def test_signed_flood_in_our_name_does_not_push_out_a_callback_of_our_message(
    make_app: Callable[..., Flask],
) -> None:
    """No worker has found out yet whether one of our tokens signed it."""
    app = make_app(REFUSED_CALLBACKS_KEPT="10")
    client = app.test_client()
    Person.signed_in(app, "alice@example.org").has_message(twilio_sid=sid(2))
    for number in (2, *range(10, 40)):
        call_back(client, fields(sid(number), "sent"), token="f" * 32)
    assert sid(2) in {row.twilio_sid for row in refused_rows(app)}
