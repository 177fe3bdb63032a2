"""Callback counts: a row for each process and five minutes."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from smstracker.extensions import db
from smstracker.models import CallbackTally
from smstracker.webhooks import writer
from tests.clients import Person
from tests.signing import SECONDARY, call_back, fields, sid

pytestmark = pytest.mark.both_databases


NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def tallies(app: Flask) -> list[CallbackTally]:
    with app.app_context():
        return list(db.session.scalars(select(CallbackTally).order_by(CallbackTally.bucket_at)))


def test_stored_callbacks_are_counted_with_their_repeats(
    app: Flask, client: FlaskClient, alice: Person
) -> None:
    alice.has_message(twilio_sid=sid(1))
    with time_machine.travel(NOON + timedelta(minutes=3), tick=False) as clock:
        for _ in range(3):
            assert call_back(client, fields(sid(1), "sent")).status_code == 204
        clock.shift(30)
        assert call_back(client, fields(sid(1), "delivered"), token=SECONDARY).status_code == 204
    [tally] = tallies(app)
    assert (tally.accepted, tally.repeated, tally.refused) == (4, 2, 0)
    assert tally.bucket_at == NOON
    assert tally.last_accepted_at == NOON + timedelta(minutes=3, seconds=30)


def test_callback_of_another_program_is_not_the_last_one(
    app: Flask, client: FlaskClient, alice: Person
) -> None:
    alice.has_message(twilio_sid=sid(1))
    with time_machine.travel(NOON, tick=False) as clock:
        call_back(client, fields(sid(1), "sent"))
        clock.shift(60)
        call_back(client, fields(sid(2), "sent"))
    [tally] = tallies(app)
    assert (tally.accepted, tally.unmatched, tally.last_accepted_at) == (2, 1, NOON)


def test_each_five_minutes_and_each_process_has_a_row(make_app: Callable[..., Flask]) -> None:
    first_app, second_app = make_app(), make_app()
    with time_machine.travel(NOON, tick=False) as clock:
        call_back(first_app.test_client(), fields(sid(1), "sent"))
        call_back(second_app.test_client(), fields(sid(2), "sent"))
        clock.shift(300)
        call_back(first_app.test_client(), fields(sid(3), "sent"))
    rows = tallies(first_app)
    assert [row.bucket_at - NOON for row in rows] == [timedelta(0)] * 2 + [timedelta(minutes=5)]
    assert len({row.process for row in rows}) == 2
    assert [row.accepted for row in rows] == [1, 1, 1]


def test_callback_that_was_not_stored_is_not_counted(
    app: Flask, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: object) -> None:
        raise OperationalError("INSERT", {}, Exception("gone"))

    monkeypatch.setattr(writer.CallbackTally, "add", fail)
    assert call_back(client, fields(sid(1), "sent")).status_code == 503
    assert tallies(app) == []


def test_old_tallies_are_purged(app: Flask, client: FlaskClient) -> None:
    with time_machine.travel(NOON, tick=False) as clock:
        call_back(client, fields(sid(1), "sent"))
        clock.shift(timedelta(days=7))
        call_back(client, fields(sid(1), "sent"))
    with app.app_context():
        assert CallbackTally.purge(NOON + timedelta(days=8, minutes=1)) == 1
        db.session.commit()
    assert [tally.bucket_at for tally in tallies(app)] == [NOON + timedelta(days=7)]
