"""flask messages: the status and timeline of a message."""

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

messages = DatabaseErrorGroup("messages", help="Messages and their statuses.")


@messages.command("show")
@click.argument("id_or_sid", metavar="ID-or-SID")
@click.option("--json", "as_json_", is_flag=True, help="Print JSON.")
def show(id_or_sid: str, as_json_: bool) -> None:
    """Print the status of a message and its events, by our id or Twilio's SID."""
    message = find_message(id_or_sid)
    events = db.session.scalars(StatusEvent.select_for_message(message.id)).all()
    click.echo(
        _format_json(message, list(events)) if as_json_ else _format_text(message, list(events))
    )


def find_message(id_or_sid: str) -> Message:
    """Find a message by our id or Twilio's SID, without a write lock. Raises ClickException."""
    db.session.connection(execution_options={READS_ONLY: True})
    identifier = id_or_sid.strip()
    try:
        condition = Message.public_id == uuid.UUID(identifier)
    except ValueError:
        # Twilio writes SM or MM, then lower case; both spellings are in the index.
        condition = Message.twilio_sid.in_(
            [identifier, identifier[:2].upper() + identifier[2:].lower()]
        )
    message = db.session.scalar(select(Message).where(condition))
    if message is None:
        raise click.ClickException("There is no message with this id or SID.")
    return message


def _format_json(message: Message, events: list[StatusEvent]) -> str:
    fields = message_to_json(message, utcnow())
    effects = status.effects((event.status, event.error_code) for event in events)
    fields["events"] = [
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
    return json.dumps(fields, indent=2)


def _format_text(message: Message, events: list[StatusEvent]) -> str:
    lines = [headline(message, utcnow()), f"SID {message.twilio_sid or 'not known'}", ""]
    for step in build_timeline(message, events):
        elapsed = f"  +{format_duration(step.since)}" if step.since is not None else ""
        notes = ", ".join(note for note in (step.reason, step.effect.value) if note)
        lines.append(
            f"{format_absolute_time(step.at)}  {step.label}{f' ({notes})' if notes else ''}"
            f"  [{step.source}]{elapsed}"
        )
    return "\n".join(lines)
