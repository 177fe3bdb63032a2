"""A program reads what became of the messages of its user, and waits for it."""

import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import update

from config import load
from smstracker import create_app
from smstracker.api.waiting import EXTENSION, Waiters, wait_for_status
from smstracker.clock import utcnow
from smstracker.extensions import db, writing
from smstracker.messages.filter_links import ARGUMENTS
from smstracker.models import Message, StatusEvent, message_drafts
from smstracker.sms import status
from tests.clients import Person
from tests.databases import migrate
from tests.programs import Program
from tests.serving import close

MakeApp = Callable[..., Flask]


@pytest.fixture
def program(app: Flask) -> Program:
    return Program(app)


def set_status(app: Flask, word: str) -> None:
    with app.app_context(), writing():
        db.session.execute(update(Message).values(status=word))


@pytest.mark.both_databases
def test_log_is_read_in_pages_both_ways(alice: Person, program: Program) -> None:
    now = utcnow()
    for number in range(60):
        alice.has_message(body=f"{number:02}", created_at=now - timedelta(minutes=60 - number))
    first = program.get("messages").json
    assert [m["text"] for m in first["messages"]] == [f"{n:02}" for n in range(59, 9, -1)]
    assert first["previous"] is None
    second = program.get(f"messages?before={first['next']}").json
    assert [m["text"] for m in second["messages"]] == [f"{n:02}" for n in range(9, -1, -1)]
    assert second["next"] is None
    back = program.get(f"messages?after={second['previous']}").json
    assert back["messages"] == first["messages"]


def test_log_has_the_filters_of_the_page(alice: Person, program: Program) -> None:
    alice.has_message(status="delivered", body="arrived")
    alice.has_message(status="undelivered", error_code="30003", body="lost")
    for query, texts in (
        ("state=delivered", ["arrived"]),
        ("error=30003", ["lost"]),
        ("text=arr", ["arrived"]),
        ("period=24h", ["lost", "arrived"]),
    ):
        answer = program.get(f"messages?{query}").json
        assert [message["text"] for message in answer["messages"]] == texts, query


def test_days_of_filters_are_utc_unless_a_zone_is_given(alice: Person, program: Program) -> None:
    at = utcnow().replace(year=2026, month=7, day=1, hour=22, minute=30)
    alice.has_message(created_at=at, status_at=at)
    day = "messages?from=2026-07-02&to=2026-07-02"
    assert program.get(day).json["messages"] == []
    assert len(program.get(f"{day}&zone=Europe/Berlin").json["messages"]) == 1


@pytest.mark.parametrize(
    "query",
    ["stat=failed", "state=lost", "state=failed&state=waiting", "recipient=%2B15558675310", "to=x"],
)
def test_wrong_filter_is_refused(program: Program, query: str) -> None:
    answer = program.get(f"messages?{query}")
    assert (answer.status_code, answer.json["code"]) == (422, "invalid_argument")


@pytest.mark.parametrize("days", ["", "&from=2026-07-02"])
@pytest.mark.parametrize(
    ("zone", "problem"),
    [
        ("Atlantis", "No time zone is called “Atlantis”."),
        ("Europe/Berln", "Did you mean Europe/Berlin"),
        ("CST", "“CST” can be several zones."),
        ("Etc/Unknown", "No time zone is called “Etc/Unknown”."),
    ],
)
def test_zone_that_is_not_known_is_refused(
    program: Program, zone: str, problem: str, days: str
) -> None:
    answer = program.get(f"messages?zone={zone}{days}")
    assert (answer.status_code, answer.json["code"]) == (422, "invalid_argument")
    assert problem in answer.json["detail"]
    assert [error["field"] for error in answer.json["errors"]] == ["zone"]


@pytest.mark.parametrize("zone", ["europe/berlin", "tokyo", "EST", "utc"])
def test_zone_is_known_by_other_names(program: Program, zone: str) -> None:
    assert program.get(f"messages?zone={zone}&from=2026-07-02").status_code == 200


@pytest.mark.parametrize("name", [*ARGUMENTS, "before", "after"])
@pytest.mark.parametrize("value", ["", "%20"])
def test_empty_filter_is_refused(program: Program, alice: Person, name: str, value: str) -> None:
    answer = program.get(f"messages?{name}={value}")
    assert (answer.status_code, answer.json["code"]) == (422, "invalid_argument")
    assert answer.json["detail"] == f"Give “{name}” a value, or leave it out."
    if name != "after":
        assert alice.get(f"/messages.json?{name}={value}").status_code == 422


@pytest.mark.parametrize("name", ["before", "after"])
def test_cursor_of_nobody_is_not_found(program: Program, name: str) -> None:
    answer = program.get(f"messages?{name}=00000000-0000-4000-8000-000000000000")
    assert (answer.status_code, answer.json["code"]) == (404, "not_found")


@pytest.mark.both_databases
def test_recipient_is_filtered_by_a_handle(alice: Person, app: Flask, program: Program) -> None:
    alice.has_message(recipient="+15558675310", body="mine")
    alice.has_message(recipient="+15558675311", body="other")
    for number in ("+1 555 867 5310", "75310"):
        handle = program.post("recipient-searches", json={"number": number}).json["recipient"]
        assert "867" not in handle
        found = program.get(f"messages?recipient={handle}").json["messages"]
        assert [message["text"] for message in found] == ["mine"]
        assert (
            Program(app, "bob@example.org").get(f"messages?recipient={handle}").status_code == 422
        )


@pytest.mark.parametrize("fields", [{}, {"number": 5}, {"number": "x"}, {"number": "1", "a": 1}])
def test_search_for_no_number_is_refused(program: Program, fields: dict[str, object]) -> None:
    answer = program.post("recipient-searches", json=fields)
    assert answer.status_code == 422
    assert answer.json["errors"]


def test_failed_message_says_who_can_do_what(alice: Person, program: Program) -> None:
    message = alice.has_message(
        status="undelivered", error_code="30006", status_source="callback", final_at=utcnow()
    )
    body = program.get(f"messages/{message.public_id}").json
    assert (body["state"], body["is_final"], body["error_code"]) == ("failed", True, "30006")
    assert body["status_source_label"] == "callback from Twilio"
    assert set(body["failure"]) == {
        "title",
        "who_can_act",
        "what_to_do",
        "send_again",
        "charged",
    }
    assert all(body["failure"].values())


def test_message_that_was_sent_again_names_its_resend(
    app: Flask, alice: Person, program: Program
) -> None:
    message = alice.has_message(status="undelivered", error_code="30003")
    before = program.get(f"messages/{message.public_id}").json
    assert before["resent_as"] is None
    assert before["failure"]["send_again"].startswith("Yes.")
    with app.app_context(), writing():
        resend = message_drafts.create_resend(db.session.get_one(Message, message.id))
        resend_id = str(resend.public_id)
    listed = program.get("messages").json["messages"][-1]
    for after in (program.get(f"messages/{message.public_id}").json, listed):
        assert after["resent_as"] == resend_id
        assert after["failure"]["send_again"] == "It has been sent again."


def test_unknown_message_stays_unknown(alice: Person, program: Program) -> None:
    message = alice.has_message(status="unknown", status_source="send")
    body = program.get(f"messages/{message.public_id}").json
    assert (body["status"], body["state"], body["failure"]) == ("unknown", "unknown", None)


def test_events_begin_when_the_message_was_saved(alice: Person, program: Program) -> None:
    event_id = alice.has_opt_out()
    with alice.app.app_context():
        message_id = db.session.get_one(StatusEvent, event_id).message_id
        public_id = db.session.get_one(Message, message_id).public_id
    body = program.get(f"messages/{public_id}/events").json
    saved, refused = body["events"]
    assert (saved["label"], saved["source"], saved["source_label"]) == (
        "Saved here",
        None,
        "this app",
    )
    assert (refused["status"], refused["source"], refused["error_code"]) == (
        "refused",
        "send",
        "21610",
    )
    assert refused["effect"] == "changed"
    assert "payload" not in refused


def test_message_of_somebody_else_is_not_found(bob: Person, program: Program) -> None:
    message = bob.has_message()
    for path in (f"messages/{message.public_id}", f"messages/{message.public_id}/events"):
        assert program.get(path).status_code == 404
    assert program.get(f"messages?before={message.public_id}").status_code == 404


def test_argument_that_there_is_not_is_refused(alice: Person, program: Program) -> None:
    message = alice.has_message(status="delivered")
    path = f"messages/{message.public_id}"
    for query in ("wait=0", "wait=31", "wait=x", "wait=", "wait=1&wait=2", "waits=1"):
        assert program.get(f"{path}?{query}").status_code == 422, query
    assert program.get(f"{path}/events?wait=1").status_code == 422


def test_final_message_is_not_waited_for(alice: Person, program: Program) -> None:
    message = alice.has_message(status="delivered")
    alice.app.extensions[EXTENSION] = None  # nothing asks for it
    assert program.get(f"messages/{message.public_id}?wait=30").json["is_final"]


@pytest.mark.both_databases
def test_reader_waits_until_the_message_is_final(alice: Person, program: Program) -> None:
    message = alice.has_message(status="sent")
    timer = threading.Timer(0.3, set_status, (alice.app, "delivered"))
    timer.start()
    body = program.get(f"messages/{message.public_id}?wait=30").json
    timer.join()
    assert body["status"] == "delivered"


@pytest.mark.both_databases
def test_sender_waits_until_twilio_has_answered(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["pending", "queued"]

    def pause(_waiters: Waiters, _seconds: float) -> bool:
        set_status(program.app, words.pop(0))
        return True

    monkeypatch.setattr(Waiters, "pause", pause)
    answer = program.send("k", headers={"Prefer": "respond-async, wait=10"})
    assert (answer.status_code, answer.json["status"]) == (201, "queued")
    assert answer.headers["Preference-Applied"] == "wait=10"


@pytest.mark.slow
def test_wait_ends_with_its_time(program: Program) -> None:
    answer = program.send("k", headers={"Prefer": "wait=1"})
    assert (answer.status_code, answer.json["status"]) == (202, "outbox")
    answer = program.send("k", headers={"Prefer": "wait=1"})
    assert (answer.status_code, answer.json["status"]) == (200, "outbox")


def test_scheduled_message_is_not_waited_for(program: Program) -> None:
    program.app.extensions[EXTENSION] = None  # nothing asks for it
    send_at = (utcnow() + timedelta(hours=1)).isoformat()
    answer = program.send(send_at=send_at, headers={"Prefer": "wait=30"})
    assert (answer.status_code, answer.json["status_label"][:9]) == (202, "Scheduled")


@pytest.mark.slow
def test_waits_are_bounded(app: Flask, alice: Person, program: Program) -> None:
    message = alice.has_message(status="sent")
    waiters = app.extensions[EXTENSION] = Waiters(4)
    with app.app_context(), waiters.slot():
        answer = program.get(f"messages/{message.public_id}?wait=30")
        assert (answer.status_code, answer.json["code"]) == (503, "too_many_waiting")
        assert answer.headers["Retry-After"] == "2"
        sent = program.send(headers={"Prefer": "wait=30"})
        assert sent.status_code == 202
        assert "Preference-Applied" not in sent.headers
    assert program.get(f"messages/{message.public_id}?wait=1").status_code == 200


def test_request_for_which_no_thread_is_left_does_not_wait(
    app: Flask, alice: Person, program: Program
) -> None:
    message = alice.has_message(status="sent")
    threads = app.extensions["waiting_threads"]
    while threads.enter():
        pass
    count = threads.count
    answer = program.get(f"messages/{message.public_id}?wait=30")
    assert (answer.status_code, answer.json["code"]) == (503, "too_many_waiting")
    sent = program.send(headers={"Prefer": "wait=30"})
    assert (sent.status_code, "Preference-Applied" in sent.headers) == (202, False)
    assert threads.count == count


def test_longer_wait_than_the_longest_is_cut(app: Flask, program: Program) -> None:
    app.extensions[EXTENSION].stop()
    answer = program.send(headers={"Prefer": "wait=999999"})
    assert answer.headers["Preference-Applied"] == "wait=30"


def test_message_that_is_deleted_meanwhile_is_not_waited_for(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(Waiters, "pause")
    with app.app_context():
        assert not wait_for_status(1, status.FINAL, 30)


def test_waits_end_when_the_process_does(app: Flask, alice: Person, program: Program) -> None:
    message = alice.has_message(status="sent")
    app.extensions[EXTENSION].stop()
    assert program.get(f"messages/{message.public_id}?wait=30").json["status"] == "sent"


def test_every_answer_of_a_demo_says_that_it_is_simulated(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'demo.sqlite'}"
    migrate(url)
    app = create_app(load({"DATABASE_URL": url}, instance=tmp_path))
    try:
        program = Program(app)
        sent = program.send("k")
        path = f"messages/{sent.json['id']}"
        answers = [
            sent,
            program.send("k"),
            program.send("k", text="x"),
            program.send(to="1"),
            program.get(path),
            program.get(f"{path}/events"),
            program.get("messages"),
            program.get("nothing"),
            program.post("recipient-searches", json={"number": "12345"}),
            app.test_client().get("/api/v1/messages"),
        ]
        assert [answer.json["simulated"] for answer in answers] == [True] * 10
    finally:
        close(app)
