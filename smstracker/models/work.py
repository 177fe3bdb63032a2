"""What the workers agree on: which of them live, and which chores are due."""

from datetime import datetime

from sqlalchemy import String, Text
from sqlalchemy.orm import Mapped, mapped_column

from smstracker.database import UtcDateTime
from smstracker.extensions import Model


class Heartbeat(Model):
    """One running worker. `problem` is what keeps it from asking Twilio, in words."""

    __tablename__ = "heartbeat"

    worker: Mapped[str] = mapped_column(String(64), primary_key=True)
    started_at: Mapped[datetime] = mapped_column(UtcDateTime)
    beat_at: Mapped[datetime] = mapped_column(UtcDateTime)
    problem: Mapped[str | None] = mapped_column(Text)


class Chore(Model):
    """Something that one worker at a time does; `due_at` doubles as the end of a lease."""

    __tablename__ = "chore"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    due_at: Mapped[datetime] = mapped_column(UtcDateTime)
