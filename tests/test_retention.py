"""Texts and messages are deleted after their time: what is settled, in full, once."""

import csv
import io
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
import time_machine
from flask import Flask
from sqlalchemy import func, select

from config import ConfigError
from smstracker.clock import utcnow
from smstracker.extensions import db
from smstracker.insights.query import measure
from smstracker.models import (
    Message,
    PendingRemoval,
    RecipientSearch,
    RefusedCallback,
    StatusEvent,
    Tombstone,
)
from smstracker.privacy.retention import remove_expired
from smstracker.sms.status import State
from smstracker.web.time_range import TimeRange
from smstracker.worker.maintenance import purge
from tests.clients import Person, words
from tests.live_settings import settings
from tests.refused_callbacks import refusal
from tests.retention_settings import let_settings_begin
from tests.signing import call_back, callback_path, fields, sid

pytestmark = pytest.mark.both_databases

MakeApp = Callable[..., Flask]
NUMBER = "+15558675310"
DAY = timedelta(days=1)


def days_ago(days: float) -> datetime:
    return utcnow() - DAY * days


def old_message(person: Person, days: float = 40, **columns: Any) -> Message:
    """A delivered message of some age, with its callback."""
    at = days_ago(days)
    final = {"status": "delivered", "created_at": at, "status_at": at, "final_at": at}
    number = len(person.messages()) + 1
    message = person.has_message(**({"twilio_sid": sid(number)} | final | columns))
    row = {"status": message.status, "source": "callback", "received_at": at}
    payload = fields(message.twilio_sid or sid(number), message.status)
    with person.app.app_context():
        db.session.add(StatusEvent(message_id=message.id, payload=payload, **row))
        db.session.commit()
    return message


def remove(app: Flask) -> int:
    """Run the job once, with settings that have been on for long."""
    let_settings_begin(app)
    with app.app_context():
        return sum(remove_expired(None))


def test_text_pictures_and_raw_callbacks_go_after_their_days(
    make_app: MakeApp, alice: Person
) -> None:
    pictures = ["https://pictures.example.org/1.png"]
    old = old_message(alice, 31, media_urls=pictures, reference=f"Ann {NUMBER}")
    young = old_message(alice, 29, reference="Bo")
    assert remove(make_app(KEEP_TEXT_DAYS="30")) == 1
    blanked, kept = alice.messages()
    assert (blanked.body, blanked.media_urls, blanked.status) == ("", [], "delivered")
    assert (blanked.reference, kept.reference) == (None, "Bo")
    assert [event.payload for event in alice.events(old)] == [{}]
    assert (kept.body, alice.events(young)[0].payload["To"]) == ("Hello", NUMBER)


def test_deleted_text_is_said_to_be_deleted_everywhere(make_app: MakeApp, alice: Person) -> None:
    message = old_message(alice, 31.5, status="failed", error_code="30003", segments=None)
    remove(make_app(KEEP_TEXT_DAYS="30"))
    page = words(alice.get(f"/messages/{message.public_id}").text)
    assert "Text Text deleted after 31 days" in page
    assert "Segments not known" in page
    assert "The callback itself is deleted" in page
    assert "Send again…" not in page
    assert "Text deleted after 31 days" in words(alice.get("/messages").text)
    [row] = alice.get("/messages.json").json["messages"]  # type: ignore[index]
    assert row["text"] is None
    assert row["text_deleted_at"]
    [cells] = csv.DictReader(io.StringIO(alice.get("/messages/export.csv").text.lstrip("\ufeff")))
    assert (cells["text"], bool(cells["text_deleted_at_utc"])) == ("", True)
    assert (
        "Hello"
        not in alice.app.test_cli_runner()
        .invoke(args=["messages", "show", str(message.public_id), "--json"])
        .output
    )


def test_message_without_its_text_is_not_sent_again(make_app: MakeApp, alice: Person) -> None:
    message = old_message(alice, status="failed", error_code="30003")
    remove(make_app(KEEP_TEXT_DAYS="30"))
    page = alice.get(f"/messages/{message.public_id}/again")
    assert page.status_code == 409
    assert "Its text is deleted" in words(page.text)


def test_deleted_text_is_found_no_more(make_app: MakeApp, alice: Person) -> None:
    old_message(alice)
    assert "Hello" in alice.get("/messages?text=hello").text
    remove(make_app(KEEP_TEXT_DAYS="30"))
    assert "No messages" in words(alice.get("/messages?text=hello").text)


def test_message_goes_with_all_that_belongs_to_it(make_app: MakeApp, alice: Person) -> None:
    message = old_message(alice, 41)
    resend = old_message(alice, 1, resend_of_id=message.id)
    remove(make_app(KEEP_MESSAGE_DAYS="40"))
    assert alice.get(f"/messages/{message.public_id}").status_code == 404
    assert [left.id for left in alice.messages()] == [resend.id]
    assert alice.message().resend_of_id is None
    assert alice.events(message) == []


def test_totals_keep_the_place_of_deleted_messages(make_app: MakeApp, alice: Person) -> None:
    old_message(alice, 41)
    app, owner = make_app(KEEP_MESSAGE_DAYS="40"), alice.id
    remove(app)
    with app.app_context():
        outcomes = measure(owner, TimeRange(), utcnow()).outcomes
    assert sum(counts[State.DELIVERED] for counts in outcomes) == 1


@pytest.mark.parametrize(
    "open_message",
    [
        {"status": "outbox", "send_at": utcnow()},
        {"status": "pending"},
        {"status": "unknown"},
        {"status": "queued"},
        {"status": "sent", "status_at": utcnow()},
    ],
    ids=lambda columns: str(columns["status"]),
)
def test_message_is_kept_until_its_outcome_is_settled(
    make_app: MakeApp, alice: Person, open_message: dict[str, Any]
) -> None:
    message = old_message(alice, **({"final_at": None} | open_message))
    app = make_app(KEEP_TEXT_DAYS="30", KEEP_MESSAGE_DAYS="30")
    remove(app)
    assert alice.message().body == "Hello"
    with app.app_context(), db.engine.begin() as connection:
        changes = {"status": "delivered", "final_at": utcnow()}
        connection.execute(db.update(Message).where(Message.id == message.id).values(changes))
    with time_machine.travel(utcnow() + 2 * DAY):
        remove(app)
    assert alice.messages() == []
    with app.app_context():
        assert db.session.scalar(select(func.count()).select_from(PendingRemoval)) == 0


@pytest.mark.parametrize("setting", ["KEEP_TEXT_DAYS", "KEEP_MESSAGE_DAYS"])
def test_message_whose_outcome_is_open_is_looked_at_once_a_day(
    make_app: MakeApp, alice: Person, setting: str
) -> None:
    old_message(alice, status="unknown", final_at=None)
    app = make_app(**{setting: "30"})
    began_at = utcnow()
    for hours, looked_at in ((0, 1), (1, 0), (25, 1), (26, 0), (50, 1)):
        with time_machine.travel(began_at + timedelta(hours=hours)):
            assert remove(app) == looked_at


def test_message_without_receipt_goes_after_the_window(make_app: MakeApp, alice: Person) -> None:
    old_message(alice, status="sent", final_at=None)
    remove(make_app(KEEP_MESSAGE_DAYS="30"))
    assert alice.messages() == []


def test_nothing_goes_without_the_settings(app: Flask, alice: Person) -> None:
    old_message(alice, 4000)
    assert remove(app) == 0
    assert alice.message().body == "Hello"


def test_message_that_is_pending_stays_once_the_setting_is_gone(
    make_app: MakeApp, alice: Person
) -> None:
    message = old_message(alice, status="unknown", final_at=None)
    remove(make_app(KEEP_MESSAGE_DAYS="30"))
    with alice.app.app_context(), db.engine.begin() as connection:
        changes = {"status": "delivered", "final_at": utcnow()}
        connection.execute(db.update(Message).where(Message.id == message.id).values(changes))
    with time_machine.travel(utcnow() + 2 * DAY):
        assert remove(alice.app) == 0
    assert alice.message().body == "Hello"


def test_message_from_the_future_stops_nothing(make_app: MakeApp, alice: Person) -> None:
    old_message(alice, -900)
    old_message(alice, 41)
    remove(make_app(KEEP_MESSAGE_DAYS="40"))
    assert alice.message().created_at > utcnow()


def test_late_callback_of_a_message_without_text_brings_no_number_back(
    make_app: MakeApp, alice: Person
) -> None:
    message = old_message(alice, status="sent", final_at=None)
    app = make_app(KEEP_TEXT_DAYS="30")
    remove(app)
    form = fields(sid(1), "delivered")
    assert call_back(app.test_client(), form, callback_path(message)).status_code == 204
    assert alice.message().status == "delivered"
    assert [event.payload for event in alice.events(message)] == [{}, {}]


def test_callback_that_is_found_to_be_of_a_message_without_text_brings_no_number_back(
    make_app: MakeApp, alice: Person
) -> None:
    message = old_message(alice, twilio_sid=None, status="untraced")
    app = make_app(KEEP_TEXT_DAYS="30")
    remove(app)
    assert call_back(app.test_client(), fields(sid(1), "sent")).status_code == 204
    form = fields(sid(1), "delivered")
    assert call_back(app.test_client(), form, callback_path(message)).status_code == 204
    assert alice.message().twilio_sid == sid(1)
    assert [event.payload for event in alice.events(message)] == [{}, {}, {}]


@pytest.mark.parametrize("has_sid", [True, False])
def test_late_callback_of_a_deleted_message_is_only_counted(
    make_app: MakeApp, alice: Person, has_sid: bool
) -> None:
    columns = {} if has_sid else {"twilio_sid": None, "status": "untraced"}
    message = old_message(alice, **columns)
    app = make_app(KEEP_MESSAGE_DAYS="30")
    remove(app)
    form = fields(sid(1), "delivered")
    assert call_back(app.test_client(), form, callback_path(message)).status_code == 204
    with app.app_context():
        events = db.session.scalars(select(StatusEvent)).all()
    assert [event.payload for event in events if event.payload] == []
    assert [event for event in events if event.twilio_sid] == []


def test_callback_of_another_message_is_kept_beside_deleted_ones(
    make_app: MakeApp, alice: Person
) -> None:
    old_message(alice)
    app = make_app(KEEP_MESSAGE_DAYS="30")
    remove(app)
    assert call_back(app.test_client(), fields(sid(99), "delivered")).status_code == 204
    with app.app_context():
        sids = select(StatusEvent.twilio_sid).where(StatusEvent.twilio_sid.is_not(None))
        assert db.session.scalars(sids).all() == [sid(99)]


@pytest.mark.parametrize("days", [0, 13], ids=["at once", "while the session lasts"])
def test_form_whose_message_is_deleted_sends_nothing(
    make_app: MakeApp, alice: Person, days: int
) -> None:
    typed = alice.compose()
    message = old_message(alice, idempotency_key=uuid.UUID(typed["form_id"]))
    remove(make_app(KEEP_MESSAGE_DAYS="30"))
    with time_machine.travel(utcnow() + days * DAY):
        page = alice.client.post("/messages", data=typed)
    assert (page.status_code, alice.messages()) == (409, []), message.id
    assert "This form has sent its message already" in words(page.text)


def test_opt_out_is_warned_of_after_its_message_is_deleted(
    make_app: MakeApp, alice: Person
) -> None:
    alice.has_opt_out(created_at=days_ago(40), status_at=days_ago(40))
    remove(make_app(KEEP_MESSAGE_DAYS="30"))
    assert alice.messages() == []
    typed = alice.compose() | {"check": "1"}
    page = words(alice.client.post("/messages", data=typed).text)
    assert "Opted out of this sender" in page
    other = typed | {"recipient": "+1 555 867 5311"}
    assert "Opted out" not in words(alice.client.post("/messages", data=other).text)


def test_opt_out_has_ended_if_a_later_message_was_accepted(
    make_app: MakeApp, alice: Person
) -> None:
    alice.has_opt_out(created_at=days_ago(40), status_at=days_ago(40))
    app = make_app(KEEP_MESSAGE_DAYS="30")
    remove(app)
    with time_machine.travel(utcnow() + DAY):
        alice.has_message(status="delivered", final_at=utcnow())
    with time_machine.travel(utcnow() + 40 * DAY):
        remove(app)
    assert alice.messages() == []
    typed = alice.compose() | {"check": "1"}
    assert "Opted out" not in words(alice.client.post("/messages", data=typed).text)


@pytest.mark.parametrize(("days", "is_warned_of"), [(49, False), (51, True)])
def test_opt_out_has_ended_if_a_later_message_that_goes_with_it_was_accepted(
    make_app: MakeApp, alice: Person, days: float, is_warned_of: bool
) -> None:
    with time_machine.travel(days_ago(50)):
        alice.has_opt_out()
    old_message(alice, days)
    remove(make_app(KEEP_MESSAGE_DAYS="30"))
    assert alice.messages() == []
    page = words(alice.send(check="1").text)
    assert ("Opted out of this sender" in page) == is_warned_of


def test_remembered_opt_out_has_ended_with_a_later_message_that_is_kept(
    make_app: MakeApp, alice: Person
) -> None:
    alice.has_opt_out(created_at=days_ago(40), status_at=days_ago(40))
    remove(make_app(KEEP_MESSAGE_DAYS="30"))
    typed = alice.compose() | {"check": "1"}
    for status, is_warned in (("undelivered", True), ("delivered", False)):
        with time_machine.travel(utcnow() + DAY):
            alice.has_message(status=status, final_at=utcnow())
        page = words(alice.client.post("/messages", data=typed).text)
        assert ("Opted out" in page) is is_warned


def test_refused_callbacks_and_searches_go_by_the_same_clock(
    make_app: MakeApp, alice: Person
) -> None:
    owner = alice.id
    app = make_app(KEEP_TEXT_DAYS="3", KEEP_MESSAGE_DAYS="5", RECEIPT_WINDOW_HOURS="200")
    let_settings_begin(app)
    orphan = {"status": "sent", "source": "callback", "received_at": days_ago(4)}
    with app.app_context():
        db.session.add(refusal(days_ago(4)))
        db.session.add(StatusEvent(payload=fields(sid(5), "sent"), **orphan))
        search = RecipientSearch(owner_id=owner, handle="h", digits="15558675310")
        search.is_full, search.used_at = True, days_ago(6)
        db.session.add(search)
        db.session.commit()
        purge()
        assert db.session.scalars(select(RefusedCallback)).all() == []
        assert db.session.scalars(select(StatusEvent.payload)).all() == [{}]
        assert db.session.scalars(select(RecipientSearch)).all() == []


def test_hashes_of_deleted_messages_go_when_nothing_can_come_any_more(
    make_app: MakeApp, alice: Person
) -> None:
    old_message(alice)
    app = make_app(KEEP_MESSAGE_DAYS="30")
    remove(app)
    with app.app_context():
        purge()
        assert len(db.session.scalars(select(Tombstone)).all()) == 2
        with time_machine.travel(utcnow() + 15 * DAY):
            purge()
        assert db.session.scalars(select(Tombstone)).all() == []


def test_text_is_not_kept_longer_than_its_message(tmp_path: object) -> None:
    with pytest.raises(ConfigError, match="KEEP_TEXT_DAYS: must not be more than KEEP_MESSAGE"):
        settings(KEEP_TEXT_DAYS="31", KEEP_MESSAGE_DAYS="30")


@pytest.mark.parametrize("days", ["0", "-1", "1.5", "ever"])
def test_days_are_whole(days: str) -> None:
    with pytest.raises(ConfigError, match="KEEP_TEXT_DAYS: must be a whole number from 1"):
        settings(KEEP_TEXT_DAYS=days)


def test_messages_after_the_newest_was_deleted_go_too(make_app: MakeApp, alice: Person) -> None:
    """SQLite would give the id of a deleted newest row again."""
    app = make_app(KEEP_MESSAGE_DAYS="30")
    for _ in range(2):
        message = old_message(alice)
        [event] = alice.events(message)
        remove(app)
        assert alice.messages() == []
    with app.app_context():
        newest = old_message(alice)
        assert alice.events(newest)[0].id > event.id


def test_many_messages_are_removed_in_small_batches(make_app: MakeApp, alice: Person) -> None:
    first = old_message(alice)
    names = [column.name for column in Message.__table__.columns]
    copied = [name for name in names if name not in ("id", "public_id", "twilio_sid")]
    shared = {name: getattr(first, name) for name in copied}
    with alice.app.app_context(), db.engine.begin() as connection:
        rows = [shared | {"idempotency_key": uuid.uuid4()} for _ in range(300)]
        connection.execute(db.insert(Message), rows)
    assert remove(make_app(KEEP_TEXT_DAYS="30")) == 301
    assert {message.body for message in alice.messages()} == {""}
