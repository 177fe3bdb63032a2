"""Refused callbacks as the quarantine keeps them, and what callbacks left in the database."""

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from flask import Flask
from sqlalchemy import func, select

from smstracker.extensions import db
from smstracker.models import CallbackTally, RefusedCallback, StatusEvent
from smstracker.refused.diagnosis import is_proven
from smstracker.refused.replay import replay
from smstracker.refused.stored_diagnosis import diagnose_pending
from tests.serving import await_writer
from tests.signing import ACCOUNT_SID, fields, sid

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
STRANGER = "AC" + "9" * 32  # an account that is not ours


def refusal(at: datetime, **columns: Any) -> RefusedCallback:
    """One that came at a moment, with what a test changes."""
    body = "&".join(f"{name}={value}" for name, value in fields(sid(1), "delivered").items())
    facts = {
        "fingerprint": uuid.uuid4().hex,
        "reason": "signature",
        "is_plausible": True,
        "target": "/webhooks/twilio/status",
        "content_type": "application/x-www-form-urlencoded",
        "signature": "x" * 28,
        "body": body.encode(),
        "body_length": len(body),
        "account_sid": ACCOUNT_SID,
        "twilio_sid": sid(1),
        "status": "delivered",
        "count": 1,
        "first_at": at,
        "last_at": at,
        "is_proven": is_proven(columns.get("diagnosis")),
    }
    return RefusedCallback(**(facts | columns))


def refused_rows(app: Flask) -> list[RefusedCallback]:
    with app.app_context():
        return list(db.session.scalars(select(RefusedCallback).order_by(RefusedCallback.id)))


def refused_count(app: Flask) -> int:
    """How many were refused; one that is only counted is written without being waited for."""
    await_writer(app)
    with app.app_context():
        return db.session.scalar(select(func.sum(CallbackTally.refused))) or 0


def explained(app: Flask) -> str:
    """Why the only refusal was refused."""
    with app.app_context():
        diagnose_pending()
        db.session.commit()
    [row] = refused_rows(app)
    return row.diagnosis or ""


def replayed(app: Flask, ids: Sequence[int] | None = None) -> tuple[int, int]:
    """Replay; return how many were applied and how many refused again."""
    with app.app_context():
        result = replay(ids, "Alice")
    return result.applied, result.refused


def stored_events(app: Flask) -> list[StatusEvent]:
    with app.app_context():
        return list(db.session.scalars(select(StatusEvent).order_by(StatusEvent.id)))
