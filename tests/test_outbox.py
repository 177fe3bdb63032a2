"""A message that waits its turn here: never unknown, never looked for, outranked by everything."""

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
import time_machine
from flask import Flask

from smstracker.clock import utcnow
from smstracker.connection.report import build_report
from smstracker.extensions import db
from smstracker.messages.failure_advice import resend_refusal
from smstracker.messages.filter_conditions import SearchFilters
from smstracker.messages.search import find_page
from smstracker.messages.state_counts import count_states
from smstracker.models import Message
from smstracker.models.event_store import append_event
from smstracker.models.events import StatusUpdate
from smstracker.models.lookup_queue import claim_due_messages, is_anything_due
from smstracker.sms.lookup_schedule import SEARCH_AGES, SILENCE_AGES
from smstracker.sms.status import Source, State
from smstracker.worker.loop import Worker
from tests.clients import Person, words
from tests.signing import STATUS_PATH, call_back, fields, sid
from tests.twilio_stub import wire

MakeApp = Callable[..., Flask]
AGES = [timedelta(minutes=3), timedelta(hours=80), timedelta(days=40)]


def queue(person: Person, age: timedelta = timedelta(hours=1)) -> Message:
    at = utcnow() - age
    # A look-up is planned: even then nothing is asked.
    times = {"created_at": at, "status_at": at, "next_lookup_at": at}
    return person.has_message(status="outbox", **times)


def move(app: Flask, message: Message, word: str, at: datetime) -> bool:
    with app.app_context(), db.engine.begin() as connection:
        status_update = StatusUpdate(word, Source.SEND, {}, received_at=at)
        return append_event(connection, message.id, status_update)


@pytest.mark.parametrize("age", AGES)
def test_waiting_message_is_shown_and_counted_as_waiting(
    app: Flask, alice: Person, age: timedelta
) -> None:
    message, owner = queue(alice, age), alice.id
    page = words(alice.get(f"/messages/{message.public_id}").text)
    assert "Queued here, to be sent to +1 555-867-5310" in page
    assert "Queued here saved here" in page
    [row] = alice.get("/messages.json").json["messages"]  # type: ignore[index]
    assert (row["status_label"], row["state"]) == ("Queued here", "waiting")
    with app.app_context():
        filters = SearchFilters(owner)
        assert {s: str(n) for s, n in count_states(filters).items() if n} == {State.WAITING: "1"}
        by_state = {state: find_page(SearchFilters(owner, state=state)) for state in State}
        assert [state for state, messages in by_state.items() if messages] == [State.WAITING]
        # Beside another filter, the state is checked on each message instead of by its index.
        filters = SearchFilters(owner, state=State.UNKNOWN, text="Hello")
        assert find_page(filters) == []


@pytest.mark.parametrize("age", AGES)
def test_waiting_message_is_never_looked_for(
    make_app: MakeApp, alice: Person, age: timedelta
) -> None:
    message = queue(alice, age)
    with wire() as twilio:
        app = make_app(TWILIO_API_BASE_URL=twilio.url)
        with app.app_context():
            with db.engine.begin() as connection:
                assert not is_anything_due(connection)
                assert claim_due_messages(connection, 10) == []
            worker = Worker()
            worker._look_up_silent()
        run = app.test_cli_runner().invoke
        assert "Nothing to look up." in run(args=["messages", "reconcile", "--all"]).output
        printed = run(args=["messages", "reconcile", str(message.public_id)]).output
        assert "waits here for its turn" in printed
        assert twilio.requests == []
    assert alice.events(message) == []


def test_waiting_message_is_neither_sent_nor_unknown_for_the_connection(
    app: Flask, alice: Person
) -> None:
    queue(alice)
    with app.app_context():
        report = build_report(utcnow())
    assert (report.sent_in_day, report.unknown) == (0, 0)


def test_waiting_message_cannot_be_sent_again(app: Flask, alice: Person) -> None:
    message = queue(alice)
    with app.app_context():
        assert resend_refusal(message, utcnow()) == "Only a failed message can be sent again."


def test_message_leaves_the_outbox_to_be_handed_over_and_never_returns(
    app: Flask, alice: Person
) -> None:
    message, at = queue(alice), utcnow()
    assert move(app, message, "pending", at)
    message = alice.message()
    assert (message.status, message.status_at, message.accepted_at) == ("pending", at, None)
    assert not move(app, message, "outbox", at)
    with time_machine.travel(at + timedelta(minutes=3)):
        assert "Outcome unknown" in alice.get(f"/messages/{message.public_id}").text
    assert move(app, message, "queued", at)
    assert alice.message().next_lookup_at == at + SILENCE_AGES[0]


def test_hand_over_plans_the_search(app: Flask, alice: Person) -> None:
    message, at = alice.has_message(status="outbox", next_lookup_at=None), utcnow()
    move(app, message, "pending", at)
    assert alice.message().next_lookup_at == at + SEARCH_AGES[0]


@pytest.mark.parametrize("word", ["queued", "sent", "delivered", "failed", "read"])
def test_callback_outranks_the_outbox(app: Flask, alice: Person, word: str) -> None:
    message = queue(alice)
    path = f"{STATUS_PATH}/{message.public_id}"
    assert call_back(app.test_client(), fields(sid(1), word), path).status_code == 204
    message = alice.message()
    assert (message.status, message.twilio_sid) == (word, sid(1))
    assert not move(app, message, "pending", utcnow())
