"""Refused callbacks as the quarantine keeps them."""

import uuid
from datetime import datetime
from typing import Any

from smstracker.models import RefusedCallback
from smstracker.refused.diagnosis import is_proven
from tests.signing import ACCOUNT_SID, fields, sid


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
