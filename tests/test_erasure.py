"""A person is erased: everywhere, at once or when it is settled, and never comes back."""

import io
import json
import re
import tracemalloc
import zipfile
from base64 import b64decode
from dataclasses import replace
from datetime import UTC, datetime
from tempfile import TemporaryFile
from urllib.parse import quote_plus, urlencode

import pytest
import time_machine
from flask import Flask
from sqlalchemy import func, select

from smstracker.clock import utcnow
from smstracker.extensions import db
from smstracker.models import (
    CarrierRemoval,
    Erasure,
    Message,
    PendingRemoval,
    RecipientSearch,
    RefusedCallback,
    StatusEvent,
    User,
)
from smstracker.privacy import erasure
from smstracker.privacy.export import write_export
from smstracker.privacy.retention import remove_expired
from tests.clients import Person, words
from tests.refused_callbacks import refusal
from tests.signing import call_back, callback_path, fields, sid

pytestmark = pytest.mark.both_databases

NUMBER, OTHER = "+15558675310", "+15558675399"
TEXT = "Meet me at the old mill"
TIMES = (
    (Message, "created_at"),
    (Message, "status_at"),
    (StatusEvent, "received_at"),
    (RefusedCallback, "first_at"),
    (RecipientSearch, "used_at"),
)
FINAL = {"status": "delivered", "body": TEXT}


@pytest.fixture
def admin(app: Flask) -> Person:
    person = Person.signed_in(app, "carol@example.org")
    with app.app_context():
        db.session.execute(db.update(User).where(User.id == person.id).values(administrator=True))
        db.session.commit()
    return person


@pytest.fixture
def held(app: Flask, alice: Person) -> Message:
    """Alice's message to the number, and every other row that holds it; one to another number."""
    message = alice.has_message(twilio_sid=sid(1), final_at=utcnow(), **FINAL)
    alice.has_message(twilio_sid=sid(2), final_at=utcnow(), recipient=OTHER, status="delivered")
    body = urlencode(fields(sid(3), "sent")).encode()
    event = {"status": "sent", "source": "callback", "received_at": utcnow()}
    owner = alice.id
    with app.app_context():
        payload = fields(sid(1), "delivered")
        db.session.add(StatusEvent(message_id=message.id, payload=payload, **event))
        db.session.add(StatusEvent(payload=fields(sid(4), "sent"), **event))
        db.session.add(StatusEvent(payload=fields(sid(5), "sent", To=OTHER), **event))
        db.session.add(refusal(utcnow(), body=body, twilio_sid=sid(3)))
        db.session.add(refusal(utcnow(), body=b"To=%2B15558675399", twilio_sid=sid(6)))
        RecipientSearch.get_or_create(owner, NUMBER[1:], is_full=True)
        RecipientSearch.get_or_create(owner, OTHER[1:], is_full=True)
        db.session.commit()
    return message


def erase(person: Person, number: str = NUMBER, **form: str) -> str:
    """Erase by the page; return the address of the receipt."""
    form = {"number": number, "confirmed": "1"} | form
    answer = person.post("/privacy/erase", form, page="/privacy")
    assert answer.status_code == 303
    return answer.location


def count(app: Flask, table: type) -> int:
    with app.app_context():
        return db.session.scalar(select(func.count()).select_from(table)) or 0


def test_page_shows_what_is_held_where(admin: Person, held: Message) -> None:
    page = admin.post("/privacy/person", {"number": "(555) 867-5310"}, page="/privacy")
    shown = words(page.text)
    for line in (
        "Messages 1",
        "Status events of these messages 1",
        "Callbacks without a message 1",
        "Refused callbacks 1",
        "Searches for the number 1",
    ):
        assert line in shown


def test_button_that_erases_looks_like_the_one_that_deletes_a_user(
    admin: Person, held: Message
) -> None:
    held_page = admin.post("/privacy/person", {"number": NUMBER}, page="/privacy").text
    for page, label in ((held_page, "Erase"), (admin.get(f"/users/{admin.id}").text, "Delete")):
        [section] = re.findall(
            rf'<section class="[^"]*\bapart" aria-labelledby="{label}', page, re.I
        )
        assert f'<button class="danger">{label}</button>' in page.partition(section)[2]


def test_erasure_removes_everything_of_the_number_alone(
    app: Flask, admin: Person, alice: Person, held: Message
) -> None:
    page = words(admin.get(erase(admin)).text)
    assert "Everything is erased" in page
    assert "Messages 1 Status events and callbacks 2 Refused callbacks 1 Searches 1" in page
    assert [message.recipient for message in alice.messages()] == [OTHER]
    assert alice.get(f"/messages/{held.public_id}").status_code == 404
    with app.app_context():
        payloads = db.session.scalars(select(StatusEvent.payload)).all()
        assert [payload["To"] for payload in payloads if payload] == [OTHER]
        assert db.session.scalars(select(RefusedCallback.body)).all() == [b"To=%2B15558675399"]
        assert db.session.scalars(select(RecipientSearch.digits)).all() == [OTHER[1:]]


def test_longer_number_with_the_same_digits_is_of_somebody_else(
    app: Flask, admin: Person, held: Message
) -> None:
    longer = f"+4{NUMBER[1:]}"
    with app.app_context():
        event = {"status": "sent", "source": "callback", "received_at": utcnow()}
        db.session.add(StatusEvent(payload=fields(sid(7), "sent", To=longer), **event))
        body = f"To=%2B{longer[1:]}".encode()
        db.session.add(refusal(utcnow(), body=body, twilio_sid=sid(8)))
        db.session.commit()
    erase(admin)
    with app.app_context():
        payloads = db.session.scalars(select(StatusEvent.payload)).all()
        assert longer in [payload.get("To") for payload in payloads]
        assert body in db.session.scalars(select(RefusedCallback.body)).all()


def test_number_is_in_no_address(admin: Person, held: Message) -> None:
    digits = NUMBER[1:]
    page = admin.post("/privacy/person", {"number": NUMBER}, page="/privacy").text
    addresses = [*re.findall(r'(?:href|action|src)="([^"]*)"', page), erase(admin)]
    assert not [address for address in addresses if digits in address or digits[-7:] in address]


def test_number_is_refused_rather_than_guessed(admin: Person) -> None:
    answer = admin.post("/privacy/person", {"number": "555 867"}, page="/privacy")
    assert answer.status_code == 422
    assert "too short" in words(answer.text)
    for path in ("/privacy/erase", "/privacy/export"):
        form = {"number": "555 867", "confirmed": "1"}
        assert admin.post(path, form, page="/privacy").status_code == 400


def test_nothing_is_erased_without_confirmation(
    admin: Person, alice: Person, held: Message
) -> None:
    answer = admin.post("/privacy/erase", {"number": NUMBER}, page="/privacy")
    assert answer.status_code == 422
    assert "Nothing was erased" in words(answer.text)
    assert len(alice.messages()) == 2


@pytest.mark.parametrize("path", ["/privacy", "/privacy/receipts/x"])
def test_pages_are_for_administrators(alice: Person, path: str) -> None:
    assert alice.get(path).status_code == 403
    assert (
        alice.post(
            "/privacy/erase", {"number": NUMBER, "confirmed": "1"}, page="/messages"
        ).status_code
        == 403
    )


def test_message_under_way_is_erased_once_it_is_settled(
    app: Flask, admin: Person, alice: Person
) -> None:
    message = alice.has_message(twilio_sid=sid(1), status="sent")
    page = admin.post("/privacy/person", {"number": NUMBER}, page="/privacy")
    assert "1 message is under way" in words(page.text)
    receipt = erase(admin)
    assert "Still to be erased: 1 message or callback." in words(admin.get(receipt).text)
    form = fields(sid(1), "delivered")
    assert call_back(app.test_client(), form, callback_path(message)).status_code == 204
    with app.app_context(), time_machine.travel(utcnow().timestamp() + 120):
        list(remove_expired(None))
    assert alice.messages() == []
    assert "Everything is erased" in words(admin.get(receipt).text)
    log = words(admin.get("/audit").text)
    assert f"Erased what was held of a person: receipt {receipt.rpartition('/')[2]}" in log
    assert NUMBER not in log


def test_late_callback_brings_nothing_back(
    app: Flask, admin: Person, alice: Person, held: Message
) -> None:
    erase(admin)
    before = count(app, StatusEvent)
    client = app.test_client()
    assert call_back(client, fields(sid(1), "read"), callback_path(held)).status_code == 204
    assert call_back(client, fields(sid(1), "read")).status_code == 204
    assert count(app, StatusEvent) == before
    assert [message.recipient for message in alice.messages()] == [OTHER]


def test_refused_late_callback_brings_nothing_back(
    app: Flask, admin: Person, held: Message
) -> None:
    erase(admin)
    before = count(app, RefusedCallback)
    form = fields(sid(1), "read")
    assert call_back(app.test_client(), form, token="f" * 32).status_code == 403
    assert count(app, RefusedCallback) == before


def test_interrupted_erasure_is_finished_by_the_worker(
    app: Flask, admin: Person, alice: Person, held: Message, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(_receipt: str) -> list[int]:
        raise KeyboardInterrupt

    with app.app_context(), monkeypatch.context() as patch:
        patch.setattr(erasure, "remove_pending", die)
        with pytest.raises(KeyboardInterrupt):
            erasure.erase(NUMBER, at_twilio=False, actor="ann@example.org")
    assert len(alice.messages()) == 2
    with app.app_context():
        list(remove_expired(None))
    assert [message.recipient for message in alice.messages()] == [OTHER]
    assert count(app, PendingRemoval) == 0
    assert count(app, RefusedCallback) == 1


def test_page_names_the_receipt_that_asks_already(app: Flask, admin: Person, alice: Person) -> None:
    alice.has_message(recipient=NUMBER, status="sent", status_at=utcnow())
    page = admin.post("/privacy/person", {"number": NUMBER}, page="/privacy").text
    assert "already asks" not in words(page)
    receipt = erase(admin).split("?")[0].rpartition("/")[2]
    alice.has_message(recipient=NUMBER, status="sent", status_at=utcnow())
    page = admin.post("/privacy/person", {"number": NUMBER}, page="/privacy").text
    assert "2 messages are under way." in words(page)
    assert f"Receipt {receipt} already asks for 1 message." in words(page)


@pytest.mark.parametrize("form", [{}, {"at_twilio": "1"}])
def test_erasure_wants_a_tick_and_keeps_the_other(
    app: Flask, admin: Person, held: Message, form: dict[str, str]
) -> None:
    page = admin.post("/privacy/erase", {"number": NUMBER} | form, page="/privacy")
    assert page.status_code == 422
    assert re.findall(r'name="(\w+)" value="1" checked', page.text) == list(form)
    assert re.findall(r'name="(\w+)" value="1" autofocus', page.text) == ["confirmed"]
    assert count(app, Erasure) == 0


def test_second_request_that_finds_nothing_more_gets_the_receipt_of_the_first(
    app: Flask, admin: Person, held: Message
) -> None:
    first = erase(admin)
    second = erase(admin)
    assert second.partition("?")[0] == first
    page = words(admin.get(second).text)
    assert "Its receipt is yours too. Everything is erased here." in page
    assert "Messages 1" in page
    result = app.test_cli_runner().invoke(args=["messages", "erase", "--yes"], input=f"{NUMBER}\n")
    assert result.output.endswith("Nothing is held of this number.\n")


def test_same_text_is_still_warned_of(admin: Person, alice: Person, held: Message) -> None:
    erase(admin)
    typed = alice.compose(body=TEXT) | {"check": "1"}
    page = words(alice.client.post("/messages", data=typed).text)
    assert "You sent the same to this number within a day" in page
    typed["media_urls"] = "https://pictures.example.org/1.png"
    page = words(alice.client.post("/messages", data=typed).text)
    assert "You sent the same" in page, "whatever pictures go with the text"


def test_messages_are_deleted_at_twilio_if_asked(app: Flask, admin: Person, held: Message) -> None:
    erase(admin, at_twilio="1")
    with app.app_context():
        rows = db.session.execute(select(CarrierRemoval.twilio_sid, CarrierRemoval.action)).all()
    assert [tuple(row) for row in rows] == [(sid(1), "delete")]


def test_command_asks_for_the_number_and_prints_a_receipt(
    app: Flask, alice: Person, held: Message
) -> None:
    runner = app.test_cli_runner()
    result = runner.invoke(args=["messages", "erase"], input="555 867 5310\ny\n")
    assert result.exit_code == 0, result.output
    assert "     1  messages" in result.output
    assert re.search(r"Receipt [0-9a-f]{12}", result.output)
    assert "867" not in result.output.partition("Receipt")[0]
    assert [message.recipient for message in alice.messages()] == [OTHER]


def test_command_erases_nothing_if_it_is_not_confirmed(
    app: Flask, alice: Person, held: Message
) -> None:
    result = app.test_cli_runner().invoke(args=["messages", "erase"], input=f"{NUMBER}\nn\n")
    assert result.exit_code == 1
    assert len(alice.messages()) == 2


def test_command_reads_the_number_from_a_script(app: Flask, alice: Person, held: Message) -> None:
    run = app.test_cli_runner().invoke
    assert run(args=["messages", "erase", "--yes"], input=f"{NUMBER}\n").exit_code == 0
    assert len(alice.messages()) == 1
    refused = run(args=["messages", "erase", "--yes"], input="12\n")
    assert (refused.exit_code, "too short" in refused.output) == (1, True)
    assert run(args=["messages", "erase", NUMBER]).exit_code == 2


def test_message_that_an_older_process_stored_is_found(
    app: Flask, admin: Person, alice: Person
) -> None:
    for number in (NUMBER, OTHER):
        alice.has_message(recipient=number, status="delivered")
    with app.app_context():
        db.session.execute(db.update(Message).values(recipient_reversed=""))
        db.session.commit()
    page = admin.post("/privacy/person", {"number": NUMBER}, page="/privacy")
    assert "Messages 1 Status" in words(page.text)
    erase(admin)
    assert alice.message().recipient == OTHER


def test_export_holds_all_in_three_forms(admin: Person, alice: Person, held: Message) -> None:
    alice.has_message(status="delivered", body="=1+1")
    answer = admin.post("/privacy/export", {"number": NUMBER}, page="/privacy")
    assert answer.mimetype == "application/zip"
    assert NUMBER[1:] not in str(answer.headers)
    with zipfile.ZipFile(io.BytesIO(answer.data)) as archive:
        content = json.loads(archive.read("export.json"))
        table = archive.read("messages.csv").decode()
        page = archive.read("export.html").decode()
    assert answer.content_length == len(answer.data)
    answer.close()
    assert [message["text"] for message in content["messages"]] == [TEXT, "=1+1"]
    assert len(content["events"]) == 2
    assert quote_plus(NUMBER) in content["refused_callbacks"][0]["body"]
    assert content["searches"][0]["digits"] == NUMBER[1:]
    assert '"\'=1+1"' in table
    assert TEXT in page
    assert OTHER not in table + page + json.dumps(content)


def test_export_holds_no_message_that_is_not_to_the_number(app: Flask, alice: Person) -> None:
    """Whatever has the ids by the time that the rows are read."""
    alice.has_opt_out(recipient=OTHER)
    with app.app_context():
        records = replace(erasure.read_records(NUMBER), message_ids=[alice.message().id])
    with app.test_request_context(), io.BytesIO() as file:
        write_export(records, file)
        with zipfile.ZipFile(file) as archive:
            content = json.loads(archive.read("export.json"))
    assert (content["messages"], content["events"]) == ([], [])


def test_page_of_the_export_speaks_in_words(app: Flask, admin: Person, held: Message) -> None:
    at = datetime(2026, 11, 27, 20, 46, 51, 578240, tzinfo=UTC)
    with app.app_context():
        for model, name in TIMES:
            db.session.execute(db.update(model).values({name: at}))
        db.session.execute(db.update(User).values(time_zone="Europe/Berlin"))
        db.session.commit()
    answer = admin.post("/privacy/export", {"number": NUMBER}, page="/privacy")
    with zipfile.ZipFile(io.BytesIO(answer.data)) as archive:
        page = archive.read("export.html").decode()
    answer.close()
    shown, time = words(page), "27 Nov 2026, 21:46:51 CET"
    for line in (
        f"Messages {time} From {held.sender} Delivered since {time} {TEXT}",
        f"Status events {time} Sent (callback): the message As received",
        f"{time} Sent (callback): without a message here As received",
        f"Refused callbacks {time} ",
        f"Searches {time}: {NUMBER[1:]}",
    ):
        assert line in shown
    assert "2026-11-27T" not in page
    assert "{" not in page.partition("</style>")[2]


@pytest.mark.slow
def test_export_of_a_flood_takes_little_memory(app: Flask) -> None:
    """A recipient may have filled the quarantine with their own number before."""
    body, flood = b"To=%2B15558675310&" + b"\xff" * 16_000, 500
    with app.app_context():
        for number in range(flood):
            db.session.add(refusal(utcnow(), body=body, twilio_sid=sid(number)))
        db.session.commit()
        records = erasure.read_records(NUMBER)
        db.session.remove()
        with app.test_request_context(), TemporaryFile() as file:
            tracemalloc.start()
            write_export(records, file)
            _, peak_bytes = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            with zipfile.ZipFile(file) as archive:
                rows = json.loads(archive.read("export.json"))["refused_callbacks"]
                page = archive.read("export.html")
    assert peak_bytes < flood * len(body) / 2
    assert [b64decode(row["body_base64"]) for row in rows] == [body] * flood
    assert len(page) < flood * 2_500
