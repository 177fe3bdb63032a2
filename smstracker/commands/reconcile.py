"""flask messages reconcile: look up messages at Twilio now."""

from collections import Counter
from collections.abc import Sequence
from threading import Event

import click

from smstracker.carrier.errors import CarrierBusyError, CarrierQueryError
from smstracker.commands.message_status import find_message, messages
from smstracker.database.engine import reading_connection
from smstracker.extensions import db
from smstracker.models.lookup_queue import OpenMessage, lease_lookup, read_open
from smstracker.sms import status
from smstracker.web.health import database_problem
from smstracker.worker.lookup import LookupOutcome, look_up_message
from smstracker.worker.lookup_throttle import LookupThrottle

MAX_BUSY_RETRIES = 5


@messages.command("reconcile")
@click.argument("id_or_sid", metavar="[ID]", required=False)
@click.option("--all", "wants_all", is_flag=True, help="Every message at Twilio that is not final.")
def reconcile(id_or_sid: str | None, wants_all: bool) -> None:
    """Look up messages at Twilio now: those due, one (our id or the SID), or all."""
    if id_or_sid and wants_all:
        raise click.UsageError("Give an ID or --all, not both.")
    problem = database_problem()
    if problem:
        raise click.ClickException(problem.sentence)
    open_messages = _select_messages(id_or_sid, wants_all)
    if not open_messages:
        click.echo(_explain_no_lookup(id_or_sid))
        return
    failure = _look_up_all(open_messages)
    if failure:
        raise click.ClickException(f"Some messages could not be looked up: {failure}")


def _select_messages(id_or_sid: str | None, wants_all: bool) -> Sequence[OpenMessage]:
    message_id = find_message(id_or_sid).id if id_or_sid else None
    db.session.rollback()
    only_due = message_id is None and not wants_all
    with reading_connection(db.engine) as connection:
        return read_open(connection, message_id, only_due=only_due)


def _explain_no_lookup(id_or_sid: str | None) -> str:
    if not id_or_sid:
        return "Nothing to ask about."
    message = find_message(id_or_sid)
    if message.final_at is not None:
        return "It is final: there is nothing to ask."
    if message.status == status.OUTBOX:
        return "It waits here for its turn: Twilio does not have it yet."
    if message.simulated:
        return "It is a demo's message: it never went to Twilio, which cannot be asked about it."
    return "It went to Twilio, which this demo cannot ask: set the credentials first."


def _look_up_all(open_messages: Sequence[OpenMessage]) -> str | None:
    """Look up each message with a progress bar; return the last reason for a failed look-up."""
    outcomes: Counter[str] = Counter()
    failure = None
    throttle = LookupThrottle()
    with click.progressbar(open_messages, label="Asking Twilio", show_pos=True) as bar:
        for message in bar:
            try:
                outcomes[
                    _look_up_with_retries(message, throttle)
                    if _lease(message)
                    else "settled meanwhile"
                ] += 1
            except CarrierQueryError as error:
                outcomes["could not be looked up"] += 1
                failure = error.reason
    total = sum(outcomes.values())
    parts = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common())
    click.echo(f"{total} message{'' if total == 1 else 's'}: {parts}.")
    return failure


def _lease(message: OpenMessage) -> bool:
    with db.engine.begin() as connection:
        return lease_lookup(connection, message)


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
