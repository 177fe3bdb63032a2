"""Callbacks of other programs of the account: counted, kept for a while, and then deleted."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from flask import Flask

from smstracker.clock import utcnow
from smstracker.models.events import StatusEvent
from smstracker.worker import maintenance
from tests.clients import Person, words
from tests.refused_callbacks import stored_events
from tests.signing import call_back, callback_path, fields, sid

pytestmark = pytest.mark.both_databases


NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def purge(app: Flask) -> int:
    with app.app_context():
        return maintenance.purge()["callbacks of other programs"]


def test_callbacks_of_other_programs_are_purged_after_the_receipt_window(
    make_app: Callable[..., Flask], alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(RECEIPT_WINDOW_HOURS="3")
    batches: list[int] = []
    purge_some = StatusEvent.purge_orphans

    def two_at_a_time(connection: object, before: datetime) -> int:
        batches.append(purge_some(connection, before, limit=2))  # type: ignore[arg-type]
        return batches[-1]

    monkeypatch.setattr(StatusEvent, "purge_orphans", two_at_a_time)
    with time_machine.travel(NOON, tick=False) as clock:
        alice.has_message(twilio_sid=sid(1))
        call_back(app.test_client(), fields(sid(1), "sent"))
        for number in range(2, 7):
            call_back(app.test_client(), fields(sid(number), "sent"))
        clock.shift(timedelta(hours=2))
        call_back(app.test_client(), fields(sid(7), "sent"))
        assert purge(app) == 0
        clock.shift(timedelta(hours=1, seconds=1))
        assert purge(app) == 5
    assert batches == [0, 2, 2, 1, 0]
    assert [event.twilio_sid for event in stored_events(app)] == [sid(1), sid(7)]


def test_orphan_stays_while_a_message_without_sid_is_looked_for(
    make_app: Callable[..., Flask], alice: Person
) -> None:
    app = make_app(RECEIPT_WINDOW_HOURS="1")
    with time_machine.travel(NOON, tick=False) as clock:
        message = alice.has_message(status="unknown", next_lookup_at=NOON + timedelta(days=1))
        clock.shift(1)
        call_back(app.test_client(), fields(sid(1), "delivered"))
        call_back(app.test_client(), fields(sid(2), "sent"))  # the newest one always stays
        clock.shift(timedelta(hours=5))
        assert purge(app) == 0
        call_back(app.test_client(), fields(sid(1), "sent"), callback_path(message))
        assert alice.message().status == "delivered"
        clock.shift(timedelta(hours=5))
        assert purge(app) == 1
    assert len(alice.events(message)) == 2


@pytest.mark.parametrize("outcomes", [("failed", "undelivered"), ("undelivered", "failed")])
def test_orphans_are_applied_in_order_of_receipt(
    app: Flask, alice: Person, outcomes: tuple[str, str]
) -> None:
    """A replay stores one that came first after one that came later; the first outcome stays."""
    message, client = alice.has_message(status="unknown"), app.test_client()
    for word, minutes in zip(outcomes, (2, 1), strict=True):
        with time_machine.travel(utcnow() + timedelta(minutes=minutes), tick=False):
            call_back(client, fields(sid(1), word, "30008"))
    call_back(client, fields(sid(1), "sent"), callback_path(message))
    assert [event.status for event in alice.events(message)] == ["sent", *reversed(outcomes)]
    assert alice.message().status == outcomes[1]


def test_what_another_account_told_of_a_sid_is_no_repetition(
    make_app: Callable[..., Flask], alice: Person
) -> None:
    """Else a subaccount could swallow callbacks that come before the answer to the send."""
    other, token = "AC" + "2" * 32, "f0e1" * 8
    app = make_app(TWILIO_SUBACCOUNT_TOKENS=f"{other}:{token}")
    message, client = alice.has_message(status="unknown"), app.test_client()
    forged = fields(sid(1), "delivered", AccountSid=other)
    assert call_back(client, forged, token=token).status_code == 204
    call_back(client, fields(sid(1), "delivered"))
    call_back(client, fields(sid(1), "sent"), callback_path(message))
    assert alice.message().status == "delivered"
    assert sorted(event.status for event in alice.events(message)) == ["delivered", "sent"]


def test_callbacks_of_other_programs_are_counted_on_the_connection_page(app: Flask) -> None:
    admin = Person.signed_in(app, "carol@example.org")
    with app.app_context():
        from smstracker.extensions import db
        from smstracker.models import User

        db.session.query(User).update({"administrator": True})
        db.session.commit()
    assert "of no message here" not in words(admin.get("/callbacks").text)
    for number in range(3):
        call_back(app.test_client(), fields(sid(number), "sent"))
    page = words(admin.get("/callbacks").text)
    assert "of these, of no message here 3 3 3" in page
    assert "They are deleted after 3 days" in page
