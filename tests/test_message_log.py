"""The message log and the page of one message, for their owner alone."""

import re
import uuid
from datetime import timedelta

import pytest
import time_machine
from flask import Flask
from sqlalchemy import text

from smstracker.clock import utcnow
from smstracker.extensions import db
from smstracker.messages import state_counts
from smstracker.messages.filter_conditions import SearchFilters
from smstracker.messages.search import PAGE_SIZE
from smstracker.models import Message, User
from smstracker.models.event_store import append_event
from smstracker.models.events import StatusUpdate
from smstracker.models.messages import Content
from smstracker.sms.status import Source, State
from tests.clients import Person, words
from tests.signing import call_back, fields, sid


def fill(app: Flask, person: Person, count: int, **columns: object) -> list[str]:
    """Messages numbered by their text, all of one moment; their public ids, oldest first."""
    now = utcnow()
    with app.app_context():
        owner = db.session.scalars(User.select_by_email(person.email)).one()
        rows = []
        for number in range(count):
            message = Message(
                owner_id=owner.id,
                idempotency_key=uuid.uuid4(),
                created_at=now,
                status_at=now,
                **{"status": "queued", **columns},
            )
            message.set_content(Content("+15558675310", "+15005550006", f"Text number {number}."))
            rows.append(message)
        db.session.add_all(rows)
        db.session.commit()
        return [str(row.public_id) for row in rows]


def numbers(page: str) -> list[int]:
    return [int(n) for n in dict.fromkeys(re.findall(r"Text number (\d+)\.", page))]


def test_log_is_empty_at_first_and_says_what_to_do(alice: Person) -> None:
    page = alice.get("/messages").text
    assert "/messages/new" in page
    assert "No messages" in page


def test_log_shows_the_newest_first_fifty_a_page(app: Flask, alice: Person) -> None:
    fill(app, alice, PAGE_SIZE * 2 + 5)
    message_numbers: list[int] = []
    path: str | None = "/messages"
    sizes = []
    while path:
        page = alice.get(path).text
        sizes.append(len(numbers(page)))
        message_numbers += numbers(page)
        older = re.search(r'class="older" href="([^"]+)"', page)
        path = older[1].replace("&amp;", "&") if older else None
    assert sizes == [50, 50, 5]
    assert message_numbers == sorted(message_numbers, reverse=True) == list(range(104, -1, -1))


def test_paging_is_stable_when_messages_arrive(app: Flask, alice: Person) -> None:
    fill(app, alice, PAGE_SIZE + 1)
    cursor = alice.get("/messages.json").json["next"]  # type: ignore[index]
    fill(app, alice, 3)
    assert numbers(alice.get(f"/messages?before={cursor}").text) == [0]


@pytest.mark.parametrize("cursor", ["nonsense", str(uuid.UUID(int=1))])
def test_unknown_cursor_is_a_404(alice: Person, cursor: str) -> None:
    assert alice.get(f"/messages?before={cursor}").status_code == 404


def test_unknown_state_is_explained(alice: Person) -> None:
    response = alice.get("/messages?state=nonsense")
    assert response.status_code == 422
    assert "There is no such state." in response.text


def test_pills_are_always_all_six_totals(alice: Person) -> None:
    alice.has_message()
    page = alice.get("/messages").text
    pills = re.findall(r"(\w[\w ]*) <span class=\"count\">(\d+)", page)
    assert pills[0] == ("All", "1")
    assert [(name, int(count)) for name, count in pills[1:]] == [
        *(("Waiting", 1), ("Delivered", 0), ("Failed", 0)),
        *(("No receipt", 0), ("Unknown", 0), ("Cancelled", 0)),
    ]


def test_pills_count_and_filter_by_state(app: Flask, alice: Person) -> None:
    age = timedelta(hours=73)
    for count, word, at in (
        (1, "queued", utcnow()),
        (2, "sent", utcnow()),
        (3, "sent", utcnow() - age),
        (4, "delivered", utcnow() - age),
        (5, "undelivered", utcnow()),
        (6, "refused", utcnow()),
        (7, "unknown", utcnow()),
        (8, "pending", utcnow() - age),
        (9, "canceled", utcnow()),
    ):
        ids = fill(app, alice, count, status=word)
        with app.app_context():
            is_new = Message.public_id.in_([uuid.UUID(public_id) for public_id in ids])
            db.session.execute(db.update(Message).where(is_new).values(status_at=at))
            db.session.commit()
    with app.app_context():
        counts = {
            state: count.value
            for state, count in state_counts.count_states(SearchFilters(alice.id)).items()
        }
    expected = {"waiting": 3, "delivered": 4, "failed": 11, "no-receipt": 3}
    expected |= {"unknown": 15, "cancelled": 9}
    assert counts == expected
    for state, count in expected.items():
        listed = alice.get(f"/messages.json?state={state}").json
        assert len(listed["messages"]) == count  # type: ignore[index]
        assert {message["state"] for message in listed["messages"]} == {state}  # type: ignore[index]
    page = words(alice.get("/messages").text)
    assert "All 45" in page
    assert "Failed 11" in page


def test_status_in_the_log_has_reason_source_and_time(alice: Person) -> None:
    message = alice.has_message(twilio_sid=sid(1), status="sent")
    call_back(alice.client, fields(sid(1), "undelivered", "30003"))
    page = alice.get("/messages").text
    assert "Not delivered" in page
    assert "Phone unreachable" in page
    assert "callback" in page
    moment = alice.messages()[0].status_at.isoformat(timespec="milliseconds")
    assert f'datetime="{moment}"' in page
    assert str(message.public_id) in page


def test_nobody_sees_the_messages_of_another(alice: Person, bob: Person) -> None:
    message = alice.has_message(body="Only for Alice", twilio_sid=sid(1))
    path = f"/messages/{message.public_id}"
    assert alice.get(path).status_code == 200
    assert bob.get(path).status_code == 404
    assert "Only for Alice" not in bob.get("/messages").text
    assert bob.get("/messages.json").json == {"messages": [], "next": None}
    assert bob.get(f"/messages?before={message.public_id}").status_code == 404
    assert bob.get(f"/messages.json?before={message.public_id}").status_code == 404


@pytest.mark.parametrize(
    "path",
    ["/messages", "/messages/new", f"/messages/{uuid.UUID(int=1)}", "/messages?state=failed"],
)
def test_visitor_is_led_to_sign_in(app: Flask, path: str) -> None:
    answer = app.test_client().get(path)
    assert answer.status_code == 302
    assert answer.location.startswith("/auth/sign-in?next=")


def test_visitor_gets_no_json(app: Flask) -> None:
    assert app.test_client().get("/messages.json").status_code == 401


def test_message_page_tells_the_whole_story(app: Flask, alice: Person) -> None:
    with time_machine.travel(utcnow(), tick=False) as clock:
        message = alice.has_message(status="pending")
        path = f"/messages/{message.public_id}"
        callback = f"/webhooks/twilio/status/{message.public_id}"
        with app.app_context(), db.engine.begin() as connection:
            append_event(connection, message.id, StatusUpdate("queued", Source.SEND, {}, sid(1)))
        page = words(alice.get(path).text)
        assert "On its way to +1 555-867-5310" in page
        assert "If no callback arrives, the status is looked up: " in page
        clock.shift(3)
        call_back(alice.client, fields(sid(1), "sent"), callback)
        assert "waiting for the receipt" in words(alice.get(path).text)
        clock.shift(5)
        call_back(alice.client, fields(sid(1), "delivered", RawDlrDoneDate="2611220836"), callback)
        call_back(alice.client, fields(sid(1), "sent"), callback)
        page = words(alice.get(path).text)
    assert "Delivered to +1 555-867-5310, 8 seconds after you sent it" in page
    assert "is looked up" not in page
    assert "5 seconds" in page
    assert "repeated" in page
    assert "2611220836" in page
    assert "send answer from Twilio" in page
    assert sid(1) in page


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"status": "undelivered", "error_code": "30006"}, "This is a landline"),
        ({"status": "undelivered", "error_code": "39999"}, "gave error 39999"),
        ({"status": "refused", "error_code": "HTTP 403"}, "did not come from Twilio"),
        ({"status": "canceled"}, "Cancelled before it was sent"),
        ({"status": "read"}, "Read by +1 555-867-5310"),
        ({"status": "delivered", "has_conflict": True}, "both a failure and a delivery"),
        ({"status": "unknown"}, "do not know yet"),
        ({"status": "failed"}, "Not delivered to"),
    ],
)
def test_message_page_speaks_plainly(
    alice: Person, columns: dict[str, object], sentence: str
) -> None:
    message = alice.has_message(**columns)
    assert sentence in words(alice.get(f"/messages/{message.public_id}").text)


def test_sent_without_receipt_is_said_after_the_window(alice: Person) -> None:
    message = alice.has_message(status="sent")
    with time_machine.travel(utcnow() + timedelta(hours=73)):
        page = alice.get(f"/messages/{message.public_id}").text
    assert "no receipt came in 3 days" in page


def test_what_people_typed_is_escaped(alice: Person) -> None:
    message = alice.has_message(
        body="<script>alert(1)</script>",
        media_urls=["https://a.example/?<b>"],
        twilio_sid=sid(1),
    )
    call_back(alice.client, fields(sid(1), "<i>new</i>", "<u>", Evil="</pre><script>"))
    for path in ("/messages", f"/messages/{message.public_id}"):
        page = alice.get(path).text
        assert "<script>alert" not in page
        assert "<i>new" not in page
        assert "<u>" not in page
        assert "</pre><script>" not in page


def test_json_is_for_programs(alice: Person) -> None:
    alice.has_message(twilio_sid=sid(1), status="sent")
    call_back(alice.client, fields(sid(1), "undelivered", "30003"))
    [message] = alice.get("/messages.json").json["messages"]  # type: ignore[index]
    assert message["sid"] == sid(1)
    assert message["status"] == "undelivered"
    assert message["state"] == "failed"
    assert message["status_source"] == "callback"
    assert message["reason"] == "Phone unreachable"
    assert message["created_at"].endswith("+00:00")


def test_status_word_that_is_new_to_us_is_shown_as_such_on_every_page(
    app: Flask, alice: Person
) -> None:
    message = alice.has_message(twilio_sid=sid(1))
    with app.app_context(), db.engine.begin() as connection:
        connection.execute(text("UPDATE message SET status = 'teleported'"))
    for path in ("/messages", f"/messages/{message.public_id}"):
        assert "“teleported” (unknown status)" in words(alice.get(path).text)
    for path in ("/messages.json", "/messages/export.csv", "/messages/export.json", "/insights"):
        assert alice.get(path).status_code == 200, path
    for query in ("q=Hello", "state=unknown", "state=waiting"):
        assert alice.get(f"/messages?{query}").status_code == 200, query
    command = app.test_cli_runner().invoke(args=["messages", "show", sid(1)])
    assert "has a status that is new to us" in command.output


def test_full_state_is_counted_again_after_a_minute(
    app: Flask, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_counts, "COUNT_CAP", 2)
    fill(app, alice, 3, status="delivered")
    fill(app, alice, 1, status="undelivered")

    me = alice.id

    def count() -> dict[State, str]:
        with app.app_context():
            counts = state_counts.count_states(SearchFilters(me))
            return {state: str(count) for state, count in counts.items() if count}

    assert count() == {State.DELIVERED: "2+", State.FAILED: "1"}
    with app.app_context():
        is_delivered = Message.status == "delivered"
        db.session.execute(db.update(Message).where(is_delivered).values(status="canceled"))
        db.session.commit()
    assert count() == {State.DELIVERED: "2+", State.FAILED: "1", State.CANCELLED: "2+"}
    with app.app_context():
        today = SearchFilters(me, since=utcnow() - timedelta(days=1))
        assert not state_counts.count_states(today)[State.DELIVERED]
        assert not any(state_counts.count_states(SearchFilters(me + 1)).values())
    monkeypatch.setattr(state_counts, "FULL_SECONDS", 0)
    assert count() == {State.FAILED: "1", State.CANCELLED: "2+"}
