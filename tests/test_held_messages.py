"""What a restore holds ends at last, and is counted apart, also if its sender never comes."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from flask import Flask
from sqlalchemy import select

from smstracker.clock import utcnow
from smstracker.extensions import db, writing
from smstracker.messages import last_checks
from smstracker.models import Message, User, outbox
from smstracker.models.outbox import OutboxCounts
from smstracker.models.user_changes import deactivate_user
from smstracker.privacy.retention import remove_expired
from tests.clients import Person
from tests.retention_settings import let_settings_begin

pytestmark = pytest.mark.both_databases

MakeApp = Callable[..., Flask]
DAY = timedelta(days=1)


def hold(person: Person) -> Message:
    """A message that was created long ago, and is held since now."""
    now = utcnow()
    times = {"created_at": now - 50 * DAY, "status_at": now, "send_at": None}
    return person.has_message(status="outbox", next_lookup_at=None, **times)


def work_after(app: Flask, days: float) -> Message | None:
    """Run the job after so many days; return the message that it leaves."""
    with app.app_context(), time_machine.travel(utcnow() + days * DAY, tick=False):
        for _ in remove_expired(None):
            pass
        return db.session.scalar(select(Message))


def stop_reason(message: Message | None) -> tuple[str, str | None]:
    assert message
    return message.status, message.error_code


def test_held_message_ends_once_its_time_is_past_whatever_it_was(alice: Person) -> None:
    hold(alice)
    assert stop_reason(work_after(alice.app, 34)) == ("outbox", None)
    assert stop_reason(work_after(alice.app, 36)) == ("refused", "too-late")


def test_held_message_of_somebody_without_access_says_so(app: Flask, alice: Person) -> None:
    hold(alice)
    owner_id = alice.id
    with app.app_context(), writing():
        deactivate_user(db.session.get_one(User, owner_id), actor="carol@example.org")
    assert stop_reason(work_after(app, 36)) == ("refused", "no-access")


@pytest.mark.both_databases(every_case=True)
@pytest.mark.parametrize("setting", ["KEEP_TEXT_DAYS", "KEEP_MESSAGE_DAYS"])
def test_held_message_outlives_no_retention(make_app: MakeApp, setting: str) -> None:
    app = make_app(**{setting: "10"})
    hold(Person.signed_in(app, "alice@example.org"))
    let_settings_begin(app)
    assert stop_reason(work_after(app, 9)) == ("outbox", None)
    message = work_after(app, 11)
    if setting == "KEEP_MESSAGE_DAYS":
        assert message is None
    else:
        assert stop_reason(message) == ("refused", "text-deleted")
        assert message.body == ""


def test_message_that_was_released_meanwhile_is_left(alice: Person) -> None:
    message = hold(alice)
    with alice.app.app_context(), writing():
        row = db.session.get_one(Message, message.id)
        row.edit_queued(row.content, utcnow() + 40 * DAY)
    assert stop_reason(work_after(alice.app, 36)) == ("outbox", None)


def test_message_that_is_released_after_the_search_is_left(
    alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = hold(alice)
    find_ids_with_access = last_checks.find_ids_with_access

    def release_first(*arguments: Any) -> object:
        with writing():
            row = db.session.get_one(Message, message.id)
            row.edit_queued(row.content, utcnow() + DAY)
        return find_ids_with_access(*arguments)

    monkeypatch.setattr(last_checks, "find_ids_with_access", release_first)
    assert stop_reason(work_after(alice.app, 36)) == ("outbox", None)


def test_held_messages_are_counted_apart(app: Flask, alice: Person) -> None:
    hold(alice)
    send_at = utcnow() + DAY
    alice.has_message(status="outbox", send_at=send_at)
    with app.app_context(), db.engine.connect() as connection:
        backlog = outbox.read_backlog(connection, utcnow())
    assert backlog == OutboxCounts(1, 1, send_at, held=1)
