"""flask messages: what became of one message, for the person at the server."""

import json
import uuid

import click
from sqlalchemy import select

from smstracker.clock import format_duration, utcnow
from smstracker.commands.database_errors import DatabaseErrorGroup
from smstracker.database.engine import READS_ONLY
from smstracker.extensions import db
from smstracker.messages.describe import headline
from smstracker.messages.pagination import message_to_json
from smstracker.messages.timeline import build_timeline
from smstracker.models import Message, StatusEvent
from smstracker.sms import status
from smstracker.web_templates import format_absolute_time

messages = DatabaseErrorGroup("messages", help="What became of the messages.")


@messages.command("show")
@click.argument("id_or_sid", metavar="ID-or-SID")
@click.option("--json", "wants_json", is_flag=True, help="For programs.")
def show(id_or_sid: str, wants_json: bool) -> None:
    """The status of a message and every event, by our id or Twilio's SID."""
    message = find_message(id_or_sid)
    events = db.session.scalars(StatusEvent.select_for_message(message.id)).all()
    click.echo(_json(message, list(events)) if wants_json else _text(message, list(events)))


def find_message(id_or_sid: str) -> Message:
    """A message by our id or Twilio's SID, in a session that takes no write lock."""
    db.session.connection(execution_options={READS_ONLY: True})
    typed = id_or_sid.strip()
    try:
        is_meant = Message.public_id == uuid.UUID(typed)
    except ValueError:
        # Twilio writes SM or MM, then lower case; both spellings are in the index.
        is_meant = Message.twilio_sid.in_([typed, typed[:2].upper() + typed[2:].lower()])
    message = db.session.scalar(select(Message).where(is_meant))
    if message is None:
        raise click.ClickException("There is no message with this id or SID.")
    return message


def _json(message: Message, events: list[StatusEvent]) -> str:
    shown = message_to_json(message, utcnow())
    effects = status.effects((event.status, event.error_code) for event in events)
    shown["events"] = [
        {
            "status": event.status,
            "error_code": event.error_code,
            "source": event.source,
            "effect": effect.value or "moved",
            "received_at": event.received_at.isoformat(),
            "carrier_done_at": event.carrier_done_at,
            "payload": event.payload,
        }
        for event, effect in zip(events, effects, strict=True)
    ]
    return json.dumps(shown, indent=2)


def _text(message: Message, events: list[StatusEvent]) -> str:
    lines = [headline(message, utcnow()), f"SID {message.twilio_sid or 'not known'}", ""]
    for step in build_timeline(message, events):
        since = f"  +{format_duration(step.since)}" if step.since is not None else ""
        notes = ", ".join(note for note in (step.reason, step.effect.value) if note)
        lines.append(
            f"{format_absolute_time(step.at)}  {step.label}{f' ({notes})' if notes else ''}"
            f"  [{step.source}]{since}"
        )
    return "\n".join(lines)
