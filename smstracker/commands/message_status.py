"""flask messages: the status and timeline of a message, and its look-up at Twilio now."""

import json
from collections import Counter
from collections.abc import Sequence
from threading import Event

import click
from sqlalchemy import select

from smstracker.carrier.errors import (
    SIMULATOR_UNREACHED,
    UNREACHED,
    CarrierBusyError,
    CarrierQueryError,
)
from smstracker.clock import format_exact_duration, utcnow
from smstracker.commands.database_errors import DatabaseErrorGroup
from smstracker.commands.erase_person import erase
from smstracker.commands.output import echo
from smstracker.database.engine import READS_ONLY, reading_connection
from smstracker.extensions import db, settings
from smstracker.messages.describe import headline
from smstracker.messages.pagination import message_to_json
from smstracker.messages.timeline import build_timeline
from smstracker.models import Message, StatusEvent
from smstracker.models.lookup_queue import OpenMessage, lease_lookup, read_open
from smstracker.plurals import format_count
from smstracker.sms import status
from smstracker.web.health import database_problem
from smstracker.web_templates import format_absolute_time
from smstracker.worker.lookup import LookupOutcome, look_up_message
from smstracker.worker.lookup_throttle import LookupThrottle

messages = DatabaseErrorGroup("messages", help="Messages and their statuses.")

MAX_BUSY_RETRIES = 5
NOT_LOOKED_UP = "could not be looked up"


@messages.command("show")
@click.argument("id_or_sid", metavar="ID-or-SID")
@click.option("--json", "as_json_", is_flag=True, help="Print JSON.")
def show(id_or_sid: str, as_json_: bool) -> None:
    """Print a message with its events. ID is that of its page's address, SID Twilio's."""
    message = find_message(id_or_sid)
    events = list(db.session.scalars(StatusEvent.select_for_message(message.id)))
    text = _format_json(message, events) if as_json_ else _format_text(message, events)
    echo(text, lines=True)


def find_message(id_or_sid: str) -> Message:
    """Find a message by its id or Twilio's SID, without a write lock. Raises ClickException."""
    db.session.connection(execution_options={READS_ONLY: True})
    message = db.session.scalar(select(Message).where(Message.has_id(id_or_sid.strip())))
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
        elapsed = f"  +{format_exact_duration(step.since)}" if step.since is not None else ""
        notes = ", ".join(note for note in (step.reason, step.effect.value) if note)
        lines.append(
            f"{format_absolute_time(step.at)}  {step.label}{f' ({notes})' if notes else ''}"
            f"  [{step.source}]{elapsed}"
        )
    return "\n".join(lines)


messages.add_command(erase)


@messages.command("reconcile")
@click.argument("id_or_sid", metavar="[ID-or-SID]", required=False)
@click.option(
    "--all", "wants_all", is_flag=True, help="Look up every message at Twilio that is not final."
)
def reconcile(id_or_sid: str | None, wants_all: bool) -> None:
    """Look up messages at Twilio now. Without an argument, those that are due."""
    if id_or_sid and wants_all:
        raise click.UsageError("Give an ID, a SID or --all, not several.")
    if problem := database_problem():
        raise click.ClickException(problem.sentence)
    open_messages = _select_messages(id_or_sid, wants_all)
    if not open_messages:
        echo(_explain_no_lookup(id_or_sid))
        return
    _look_up_all(open_messages)


def _select_messages(id_or_sid: str | None, wants_all: bool) -> Sequence[OpenMessage]:
    message_id = find_message(id_or_sid).id if id_or_sid else None
    db.session.rollback()
    only_due = message_id is None and not wants_all
    with reading_connection(db.engine) as connection:
        return read_open(connection, message_id, only_due=only_due)


def _explain_no_lookup(id_or_sid: str | None) -> str:
    if not id_or_sid:
        return "Nothing to look up."
    message = find_message(id_or_sid)
    if message.final_at is not None:
        return "It is final: there is nothing to look up."
    if message.status == status.OUTBOX:
        return "It waits here for its turn: Twilio does not have it yet."
    if message.simulated:
        return "It is a demo's message: it never went to Twilio, so it cannot be looked up."
    return "It went to Twilio, where this demo cannot look it up: set the credentials first."


def _look_up_all(open_messages: Sequence[OpenMessage]) -> None:
    """Look up each message with a progress bar. Raises ClickException for failed look-ups."""
    outcomes: Counter[str] = Counter()
    failure = None
    throttle = LookupThrottle()
    with click.progressbar(open_messages, label="Looking up", show_pos=True) as bar:
        for message in bar:
            try:
                with db.engine.begin() as connection:
                    is_leased = lease_lookup(connection, message)
                if is_leased:
                    outcomes[_look_up_with_retries(message, throttle)] += 1
                else:
                    outcomes["settled meanwhile"] += 1
            except CarrierQueryError as error:
                outcomes[NOT_LOOKED_UP] += 1
                failure = error.reason
    total = sum(outcomes.values())
    parts = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common())
    echo(f"{format_count(total, 'message')}: {parts}.")
    if failure:
        if settings().demo and failure == UNREACHED:
            failure = SIMULATOR_UNREACHED
        missed = f"{outcomes[NOT_LOOKED_UP]} of {format_count(total, 'message')} {NOT_LOOKED_UP}"
        raise click.ClickException(f"{missed}. {failure}")


def _look_up_with_retries(message: OpenMessage, throttle: LookupThrottle) -> LookupOutcome:
    """Look up at the rate that all workers share; retry after a pause while Twilio is busy."""
    for _ in range(MAX_BUSY_RETRIES):
        Event().wait(throttle.reserve())
        try:
            outcome = look_up_message(message)
        except CarrierBusyError:
            throttle.back_off([])
            continue
        throttle.reset_failures()
        return outcome
    Event().wait(throttle.reserve())
    return look_up_message(message)
