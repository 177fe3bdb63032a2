"""Quarantine: callbacks that were refused, kept as they came so that they can be explained."""

from datetime import datetime

from sqlalchemy import Index, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from smstracker.database import UtcDateTime
from smstracker.extensions import Model
from smstracker.models.messages import BigId


class RefusedCallback(Model):
    """One refused request; `count` tells how often the very same one came.

    `reason` is a word of `webhooks.evidence.Refusal`. `target` is path and query as they were sent,
    `body` the first 16 KB. `is_plausible` is false if it does not even claim to be for our account.
    What it claims (`account_sid`, `twilio_sid`, `status`) is not verified.
    """

    __tablename__ = "refused_callback"
    __table_args__ = (Index(None, "is_plausible", "id"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(64), unique=True)
    reason: Mapped[str] = mapped_column(String(16))
    is_plausible: Mapped[bool]
    target: Mapped[str] = mapped_column(String(2048))
    sent_host: Mapped[str | None] = mapped_column(String(255))
    forwarded_host: Mapped[str | None] = mapped_column(String(255))
    forwarded_proto: Mapped[str | None] = mapped_column(String(16))
    content_type: Mapped[str | None] = mapped_column(String(100))
    signature: Mapped[str | None] = mapped_column(String(128))
    idempotency_token: Mapped[str | None] = mapped_column(String(128))
    body: Mapped[bytes] = mapped_column(LargeBinary)
    body_length: Mapped[int]
    account_sid: Mapped[str | None] = mapped_column(String(34))
    twilio_sid: Mapped[str | None] = mapped_column(String(64))
    status: Mapped[str | None] = mapped_column(String(64))
    count: Mapped[int] = mapped_column(default=1)
    first_at: Mapped[datetime] = mapped_column(UtcDateTime)
    last_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    diagnosis: Mapped[str | None] = mapped_column(Text)
    setting: Mapped[str | None] = mapped_column(String(64))
    replayed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
