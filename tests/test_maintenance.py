"""Maintenance runs in steps, between which the worker sends heartbeats and looks messages up."""

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from flask import Flask
from sqlalchemy import func, select

from smstracker.clock import utcnow
from smstracker.extensions import db
from smstracker.models import Heartbeat, Message, RefusedCallback, StatusEvent
from smstracker.models.jobs import JobName
from smstracker.worker.loop import JOBS, Worker
from smstracker.worker.maintenance import purge_in_steps
from tests.clients import Person
from tests.refused_callbacks import refusal
from tests.signing import sid
from tests.twilio_stub import answer, wire
from tests.worker_runs import in_minutes

pytestmark = pytest.mark.both_databases


MakeApp = Callable[..., Flask]
LONG_AGO = timedelta(days=30)


def test_maintenance_stops_neither_heartbeat_nor_look_ups(
    make_app: MakeApp, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice.has_message(status="sent", twilio_sid=sid(1))
    batches = [500, 500, 500, 0]
    beats: list[datetime] = []
    statuses: list[str] = []
    delivered = answer(200, {"sid": sid(1), "status": "delivered"})
    with wire(delivered) as twilio, in_minutes(0) as clock:

        def slow_purge(_now: datetime) -> int:
            beats.extend(db.session.scalars(select(Heartbeat.beat_at)))
            statuses.extend(db.session.scalars(select(Message.status)))
            clock.shift(timedelta(minutes=3))
            return batches.pop(0)

        monkeypatch.setattr(RefusedCallback, "purge", slow_purge)
        for name in JOBS.keys() - {JobName.MAINTENANCE}:
            monkeypatch.delitem(JOBS, name)
        with make_app(TWILIO_API_BASE_URL=twilio.url).app_context():
            Worker().work()
    assert len(set(beats)) == 4
    assert statuses == ["sent", "sent", "delivered", "delivered"]


def test_backlog_is_purged_a_batch_a_step(app: Flask) -> None:
    at = utcnow() - LONG_AGO
    orphan = {"status": "sent", "source": "callback", "payload": {}, "received_at": at}
    with app.app_context():
        db.session.add_all(refusal(at) for _ in range(501))
        db.session.execute(db.insert(StatusEvent), [orphan] * 501)
        db.session.commit()
        lefts = []
        for kind, count in purge_in_steps():
            # Another connection sees it: it was committed, and no lock is left.
            with db.engine.begin() as connection:
                counted = [
                    connection.scalar(select(func.count()).select_from(model))
                    for model in (RefusedCallback, StatusEvent)
                ]
            if kind in ("refused callbacks", "callbacks of other programs"):
                lefts.append((count, *counted))
    assert lefts == [(500, 1, 501), (1, 0, 501), (0, 0, 501), (500, 0, 1), (1, 0, 0), (0, 0, 0)]
