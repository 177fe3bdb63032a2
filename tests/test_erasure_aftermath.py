"""What comes after an erasure: late callbacks, ids that are given again, a second erasure."""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from urllib.parse import unquote, unquote_plus

import pytest
import time_machine
from flask import Flask
from flask_migrate import downgrade, upgrade
from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy import func, select

from smstracker.clock import utcnow
from smstracker.extensions import db
from smstracker.models import (
    CarrierRemoval,
    Message,
    PendingRemoval,
    RefusedCallback,
    StatusEvent,
    User,
    outbox,
)
from smstracker.models.events import StatusUpdate
from smstracker.models.removals import RemovalKind
from smstracker.models.user_changes import delete_user
from smstracker.privacy import erasure, number_text
from smstracker.privacy.former_users import erase_former_users
from smstracker.privacy.number_text import WrittenNumber
from smstracker.privacy.pending import remove_pending
from smstracker.privacy.person_records import PersonRecords
from smstracker.privacy.retention import remove_expired
from smstracker.sms.status import Source
from tests.clients import Person, words
from tests.refused_callbacks import refusal
from tests.serving import await_writer
from tests.signing import call_back, callback_path, fields, sid
from tests.twilio_stub import created, wire

NUMBER, OTHER = "+15558675310", "+15558675399"
TEXT = "Meet me at the old mill"


def count(app: Flask, table: type) -> int:
    with app.app_context():
        return db.session.scalar(select(func.count()).select_from(table)) or 0


def test_second_erasure_of_a_number_counts_what_is_left_of_the_first(
    app: Flask, alice: Person
) -> None:
    alice.has_message(recipient=NUMBER, status="sent", twilio_sid=sid(1), status_at=utcnow())
    with app.app_context():
        receipts = [
            erasure.erase(NUMBER, at_twilio=at_twilio, actor="carol@example.org").receipt
            for at_twilio in (False, True)
        ]
        erasure.erase(OTHER, at_twilio=False, actor="carol@example.org")
        assert list(map(erasure.count_left, receipts)) == [1, 1]
        assert sorted(left for _receipt, left in erasure.read_receipts()) == [0, 1, 1]
        db.session.execute(db.update(Message).values(status="delivered"))
        db.session.commit()
        with time_machine.travel(utcnow() + timedelta(minutes=5)):
            assert sum(remove_expired(None)) == 1
        assert list(map(erasure.count_left, receipts)) == [0, 0]
        assert db.session.scalars(select(CarrierRemoval.action)).all() == ["delete"]


def test_second_erasure_removes_at_once_what_has_been_settled_since_the_first(
    app: Flask, alice: Person
) -> None:
    message = alice.has_message(recipient=NUMBER, status="sent", twilio_sid=sid(1))
    with app.app_context():
        erasure.erase(NUMBER, at_twilio=False, actor="carol@example.org")
    form = fields(sid(1), "delivered")
    assert call_back(app.test_client(), form, callback_path(message)).status_code == 204
    with app.app_context():
        erasure.erase(NUMBER, at_twilio=False, actor="carol@example.org")
    assert alice.messages() == []


def settle(app: Flask) -> None:
    """Let all messages be delivered, and the worker look at what waits for that."""
    with app.app_context():
        db.session.execute(db.update(Message).values(status="delivered", final_at=utcnow()))
        db.session.commit()
        with time_machine.travel(utcnow() + timedelta(minutes=2)):
            list(remove_expired(None))
        db.session.remove()


def delete_owner(app: Flask, person: Person) -> None:
    with app.app_context():
        delete_user(db.session.get_one(User, person.id), True, "carol@example.org")
        db.session.commit()


def test_message_with_the_id_of_an_erased_one_is_kept(
    app: Flask, alice: Person, bob: Person
) -> None:
    alice.has_message(recipient=NUMBER, status="sent", twilio_sid=sid(1), status_at=utcnow())
    with app.app_context():
        erasure.erase(NUMBER, at_twilio=True, actor="carol@example.org")
        db.session.execute(db.update(Message).values(status="delivered"))
        db.session.commit()
    delete_owner(app, alice)
    with app.app_context():
        assert list(erase_former_users()) == [1]
    bob.has_message(recipient=OTHER, status="delivered", twilio_sid=sid(2))
    settle(app)
    assert bob.message().recipient == OTHER
    with app.app_context():
        assert db.session.scalars(select(CarrierRemoval.twilio_sid)).all() == [sid(1)]


def test_answer_about_a_message_that_was_erased_meanwhile_changes_no_other(
    make_app: Callable[..., Flask],
) -> None:
    with wire(created(sid(1))) as twilio:
        app = make_app(TWILIO_API_BASE_URL=twilio.url)
        alice, bob = (Person.signed_in(app, f"{name}@example.org") for name in ("alice", "bob"))

        def erase_and_write() -> None:
            with app.app_context():
                erasure.erase(NUMBER, at_twilio=False, actor="carol@example.org")
            settle(app)
            bob.has_message(recipient=OTHER)

        twilio.on_request = erase_and_write
        assert alice.send(recipient=NUMBER).status_code == 303
    assert count(app, Message) == 1
    assert (bob.message().recipient, bob.message().twilio_sid) == (OTHER, None)


def test_refused_callback_with_the_id_of_an_evicted_one_is_kept(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasure, "remove_pending", lambda _receipt: [])
    with app.app_context():
        db.session.add(refusal(utcnow(), body=b"To=%2B15558675310"))
        db.session.commit()
        erasure.erase(NUMBER, at_twilio=False, actor="carol@example.org")
        assert RefusedCallback.evict(db.session.connection(), 0) == 0
        db.session.add(refusal(utcnow(), body=b"To=%2B15558675399"))
        db.session.commit()
    settle(app)
    assert count(app, RefusedCallback) == 1


def test_refused_callback_that_comes_again_after_the_search_goes(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, read_records = app.test_client(), erasure.read_records

    def call_back_again(number: str) -> PersonRecords:
        records = read_records(number)
        assert call_back(client, fields(sid(1), "sent"), token="f" * 32).status_code == 403
        await_writer(app)
        return records

    with time_machine.travel(utcnow() - timedelta(hours=1)):
        assert call_back(client, fields(sid(1), "sent"), token="f" * 32).status_code == 403
    monkeypatch.setattr(erasure, "read_records", call_back_again)
    with app.app_context():
        erasure.erase(NUMBER, at_twilio=False, actor="carol@example.org")
    assert count(app, RefusedCallback) == 0


def test_message_of_a_deleted_user_is_deleted_at_twilio_as_the_erasure_asked(
    app: Flask, alice: Person
) -> None:
    alice.has_message(recipient=NUMBER, status="sent", twilio_sid=sid(1), status_at=utcnow())
    alice.has_message(recipient=OTHER, status="sent", twilio_sid=sid(2), status_at=utcnow())
    with app.app_context():
        erasure.erase(NUMBER, at_twilio=True, actor="carol@example.org")
        db.session.execute(db.update(Message).values(status="delivered"))
        db.session.commit()
    delete_owner(app, alice)
    with app.app_context():
        assert list(erase_former_users()) == [2]
        assert db.session.scalars(select(CarrierRemoval.twilio_sid)).all() == [sid(1)]


@pytest.mark.parametrize("redacts_expired", ["off", "on"])
def test_erasure_asks_no_more_of_twilio_than_was_ticked(
    make_app: Callable[..., Flask], alice: Person, redacts_expired: str
) -> None:
    app = make_app(KEEP_TEXT_DAYS="30", REDACT_AT_TWILIO=redacts_expired)
    for number, at_twilio in enumerate((True, False)):
        alice.has_message(recipient=NUMBER, status="delivered", twilio_sid=sid(number))
        with app.app_context():
            erasure.erase(NUMBER, at_twilio=at_twilio, actor="carol@example.org")
    with app.app_context():
        assert db.session.scalars(select(CarrierRemoval.twilio_sid)).all() == [sid(0)]


def test_later_request_for_twilio_takes_over_no_receipt_of_another_number(
    app: Flask, alice: Person
) -> None:
    for recipient in (OTHER, OTHER, NUMBER, NUMBER):
        alice.has_message(recipient=recipient, status="sent", status_at=utcnow())
    with app.app_context():
        for number, at_twilio in ((OTHER, True), (NUMBER, False)):
            erasure.erase(number, at_twilio=at_twilio, actor="carol@example.org")
        later = erasure.erase(NUMBER, at_twilio=True, actor="carol@example.org").receipt
        receipts = select(PendingRemoval.receipt).order_by(PendingRemoval.row_id)
        assert db.session.scalars(receipts).all()[2:] == [later, later]


def test_callback_without_a_message_does_not_come_back(app: Flask) -> None:
    client = app.test_client()
    assert call_back(client, fields(sid(7), "sent")).status_code == 204
    with app.app_context():
        erasure.erase(NUMBER, at_twilio=False, actor="carol@example.org")
    assert call_back(client, fields(sid(7), "delivered")).status_code == 204
    assert call_back(client, fields(sid(8), "delivered", To=OTHER)).status_code == 204
    with app.app_context():
        sids = select(StatusEvent.twilio_sid).where(StatusEvent.twilio_sid.is_not(None))
        assert db.session.scalars(sids).all() == [sid(8)]


def test_refused_callback_without_a_message_does_not_come_back(app: Flask) -> None:
    client = app.test_client()
    assert call_back(client, fields(sid(7), "sent"), token="f" * 32).status_code == 403
    with app.app_context():
        erasure.erase(NUMBER, at_twilio=False, actor="carol@example.org")
    assert call_back(client, fields(sid(7), "delivered"), token="f" * 32).status_code == 403
    assert call_back(client, fields(sid(8), "sent", To=OTHER), token="f" * 32).status_code == 403
    with app.app_context():
        assert db.session.scalars(select(RefusedCallback.twilio_sid)).all() == [sid(8)]


def test_refused_callback_of_a_stranger_keeps_nothing_of_our_message_away(
    app: Flask, alice: Person
) -> None:
    """Anybody can post the SID of a message with their own number, and ask to be erased."""
    client = app.test_client()
    message = alice.has_message(recipient=OTHER, twilio_sid=sid(7), status="sent")
    assert call_back(client, fields(sid(7), "sent"), token="f" * 32).status_code == 403
    with app.app_context():
        erasure.erase(NUMBER, at_twilio=False, actor="carol@example.org")
    assert count(app, RefusedCallback) == 0
    late = fields(sid(7), "delivered", To=OTHER)
    assert call_back(client, late, token="f" * 32).status_code == 403
    assert count(app, RefusedCallback) == 1
    assert call_back(client, late, callback_path(message)).status_code == 204
    assert alice.message().status == "delivered"


def test_refused_callback_of_a_stranger_takes_no_other_callback_along(
    app: Flask, alice: Person
) -> None:
    """Neither one that was verified, without a message, nor a refused one of our message."""
    client = app.test_client()
    alice.has_message(recipient=OTHER, twilio_sid=sid(8), status="sent")
    assert call_back(client, fields(sid(7), "sent", To=OTHER)).status_code == 204
    for form in (fields(sid(8), "sent", To=OTHER), fields(sid(7), "sent"), fields(sid(8), "sent")):
        assert call_back(client, form, token="f" * 32).status_code == 403
    with app.app_context():
        erasure.erase(NUMBER, at_twilio=False, actor="carol@example.org")
        payloads = db.session.scalars(select(StatusEvent.payload)).all()
        assert [payload["To"] for payload in payloads] == [OTHER]
        assert db.session.scalars(select(RefusedCallback.twilio_sid)).all() == [sid(8)]


def test_number_is_found_in_a_percent_encoded_body(app: Flask) -> None:
    bodies = [b"To=%2015558675310", b"To=%2B1%35558675310", b"To=%2B15558675399"]
    with app.app_context():
        rows = enumerate(bodies)
        db.session.add_all(refusal(utcnow(), body=body, twilio_sid=sid(n)) for n, body in rows)
        db.session.commit()
        erasure.erase(NUMBER, at_twilio=False, actor="carol@example.org")
        assert db.session.scalars(select(RefusedCallback.body)).all() == bodies[2:]


@example(before="%", encoded={1, 2}, after="")
@given(
    before=st.sampled_from(["", "%", "%2", "%3", "%20", "%31", "7", "x"]),
    encoded=st.sets(st.integers(0, 10)),
    after=st.sampled_from(["", "%", "%3", "%20", "%35", "7", "x"]),
)
def test_quick_look_misses_no_number(before: str, encoded: set[int], after: str) -> None:
    for number in (NUMBER[1:], "35558675333"):
        digits = [f"%3{digit}" if n in encoded else digit for n, digit in enumerate(number)]
        text = f"{before}{''.join(digits)}{after}"
        written = WrittenNumber(f"+{number}")
        is_held = written.matches(text) or written._matches(unquote_plus(text))
        assert written.matches_bytes(text.encode()) == is_held
        assert is_held or not re.search(rf"(?<![0-9]){number}(?![0-9])", unquote(text))


def test_bodies_without_the_number_are_not_decoded(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decoding thousands, which anybody can send, takes many seconds."""
    encoded = b"%41%35%33" * 1_800
    decoded: list[bytes] = []
    monkeypatch.setattr(number_text, "unquote_to_bytes", lambda text: decoded.append(text) or b"")
    with app.app_context():
        db.session.add_all(refusal(utcnow(), body=encoded) for _ in range(3))
        db.session.commit()
        assert erasure.read_records(NUMBER).refused_ids == []
    assert decoded == []


def test_message_that_waits_to_be_sent_is_cancelled_and_goes(app: Flask, alice: Person) -> None:
    message = alice.queue(5310)
    with app.app_context(), db.engine.begin() as connection:
        [claimed] = outbox.claim(connection, 10, utcnow())
    with app.app_context():
        erasure.erase(NUMBER, at_twilio=False, actor="carol@example.org")
        with db.engine.begin() as connection:
            assert outbox.begin_hand_over(connection, [claimed]) == []
    assert claimed.id == message.id
    assert alice.messages() == []


def test_message_that_twilio_refuses_for_now_after_the_erasure_is_not_sent(
    app: Flask, alice: Person
) -> None:
    alice.queue()
    now = utcnow()
    with app.app_context(), db.engine.begin() as connection:
        [claimed] = outbox.claim(connection, 1, now)
        [begun] = outbox.begin_hand_over(connection, [claimed])
    with app.app_context():
        erasure.erase(begun.recipient, at_twilio=False, actor="carol@example.org")
        busy = StatusUpdate("refused", Source.SEND, {}, error_code="20429")
        with db.engine.begin() as connection:
            assert not outbox.put_back(connection, begun, busy)


def test_message_put_back_while_it_is_erased_is_not_sent_and_goes(
    app: Flask, alice: Person
) -> None:
    message = alice.queue()
    with app.app_context(), db.engine.begin() as connection:
        [claimed] = outbox.claim(connection, 1, utcnow())
        PendingRemoval.add(connection, RemovalKind.ERASE, [message.id], utcnow())
        assert outbox.begin_hand_over(connection, [claimed]) == []
    with app.app_context():
        assert sum(remove_pending()) == 1
    assert count(app, Message) == 0


def test_message_that_nothing_was_heard_of_for_long_goes(app: Flask, alice: Person) -> None:
    long_ago = utcnow() - timedelta(days=400)
    alice.has_message(status="unknown", created_at=long_ago, status_at=long_ago)
    with app.app_context():
        erasure.erase(NUMBER, at_twilio=False, actor="carol@example.org")
    assert alice.messages() == []


def is_warned_of_text(person: Person, at: datetime) -> bool:
    """Whether the form warns, then, of TEXT to NUMBER, which was sent before and erased."""
    with time_machine.travel(at, tick=False):
        page = person.send(body=TEXT, check="1")
    assert page.status_code == 200
    return "You sent the same to this number within a day" in words(page.text)


def test_same_text_sent_later_is_warned_of_for_a_day_of_its_own(app: Flask, alice: Person) -> None:
    began_at = utcnow()
    for number, hours in enumerate((0, 23)):
        with time_machine.travel(began_at + timedelta(hours=hours), tick=False):
            alice.has_message(twilio_sid=sid(number), status="delivered", body=TEXT)
            with app.app_context():
                erasure.erase(NUMBER, at_twilio=False, actor="carol@example.org")
    assert is_warned_of_text(alice, began_at + timedelta(hours=25))


def test_same_text_is_warned_of_for_a_day_after_the_newest_of_two(
    app: Flask, alice: Person
) -> None:
    newest_at = utcnow()
    for number, hours in enumerate((0, 23)):
        columns = {"twilio_sid": sid(number), "created_at": newest_at - timedelta(hours=hours)}
        alice.has_message(status="delivered", body=TEXT, **columns)
    with app.app_context():
        erasure.erase(NUMBER, at_twilio=False, actor="carol@example.org")
    assert is_warned_of_text(alice, newest_at + timedelta(hours=23))
    assert not is_warned_of_text(alice, newest_at + timedelta(hours=25))


@pytest.mark.parametrize("status", ["unreached", "failed"])
def test_text_of_an_erased_message_that_was_never_sent_is_not_warned_of(
    app: Flask, alice: Person, status: str
) -> None:
    alice.has_message(status=status, body=TEXT)
    with app.app_context():
        erasure.erase(NUMBER, at_twilio=False, actor="carol@example.org")
    assert alice.messages() == []
    assert not is_warned_of_text(alice, utcnow())


def test_row_that_got_the_id_of_one_just_read_is_kept(
    app: Flask, bob: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = bob.has_message(recipient=OTHER, status="delivered")
    with app.app_context():
        outdated = replace(erasure.read_records(NUMBER), message_ids=[message.id], refused_ids=[1])

        def read(_number: str) -> PersonRecords:
            db.session.add(refusal(utcnow(), body=b"To=%2B15558675399"))
            db.session.commit()
            return outdated

        monkeypatch.setattr(erasure, "read_records", read)
        erasure.erase(NUMBER, at_twilio=False, actor="carol@example.org")
    assert bob.message().recipient == OTHER
    assert count(app, RefusedCallback) == 1


def test_upgrade_forgets_what_names_no_row_on_sqlite(app: Flask) -> None:
    with app.app_context():
        downgrade(revision="0018")
        with db.engine.begin() as connection:
            PendingRemoval.add(connection, RemovalKind.DELETE, [1], utcnow())
        upgrade()
        is_sqlite = db.engine.dialect.name == "sqlite"
    assert count(app, PendingRemoval) == (0 if is_sqlite else 1)
