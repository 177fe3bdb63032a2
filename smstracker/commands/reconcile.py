"""flask messages reconcile: ask Twilio now."""

from collections import Counter
from collections.abc import Sequence
from threading import Event

import click

from smstracker.carrier import CarrierBusyError, CarrierQueryError
from smstracker.commands.message_status import find_message, messages
from smstracker.database.engine import READS_ONLY
from smstracker.extensions import db
from smstracker.models.lookup_queue import OpenMessage, lease_lookup, select_open
from smstracker.web.health import database_problem
from smstracker.worker.lookup import LookupOutcome, look_up_message
from smstracker.worker.lookup_throttle import LookupThrottle

BUSY_TRIES = 5


@messages.command("reconcile")
@click.argument("id_or_sid", metavar="[ID]", required=False)
@click.option("--all", "wants_all", is_flag=True, help="Every message that is not final.")
def reconcile(id_or_sid: str | None, wants_all: bool) -> None:
    """Ask Twilio now: about what is due, about one message (our id or the SID), or about all."""
    if id_or_sid and wants_all:
        raise click.UsageError("Give an ID or --all, not both.")
    problem = database_problem()
    if problem:
        raise click.ClickException(problem.sentence)
    found = _chosen(id_or_sid, wants_all)
    if not found:
        click.echo(_why_nothing_is_asked(id_or_sid))
        return
    failed = _ask_about(found)
    if failed:
        raise click.ClickException(f"Some messages could not be looked up: {failed}")


def _chosen(id_or_sid: str | None, wants_all: bool) -> Sequence[OpenMessage]:
    only = find_message(id_or_sid).id if id_or_sid else None
    db.session.rollback()
    chosen = select_open(only, only_due=only is None and not wants_all)
    with db.engine.connect().execution_options(**{READS_ONLY: True}) as connection:
        return connection.execute(chosen).all()


def _why_nothing_is_asked(id_or_sid: str | None) -> str:
    if not id_or_sid:
        return "Nothing to ask about."
    message = find_message(id_or_sid)
    if message.final_at is not None:
        return "It is final: there is nothing to ask."
    if message.simulated:
        return "It is a demo's message: it never went to Twilio, which cannot be asked about it."
    return "It went to Twilio, which this demo cannot ask: set the credentials first."


def _ask_about(found: Sequence[OpenMessage]) -> str | None:
    """Ask, show the progress, sum up; the last reason for which something could not be asked."""
    came_to: Counter[str] = Counter()
    failed = None
    pace = LookupThrottle()
    with click.progressbar(found, label="Asking Twilio", show_pos=True) as bar:
        for one in bar:
            try:
                came_to[_patiently(one, pace) if _is_open(one) else "settled meanwhile"] += 1
            except CarrierQueryError as error:
                came_to["could not be looked up"] += 1
                failed = error.reason
    total = sum(came_to.values())
    parts = ", ".join(f"{count} {what}" for what, count in came_to.most_common())
    click.echo(f"{total} message{'' if total == 1 else 's'}: {parts}.")
    return failed


def _is_open(one: OpenMessage) -> bool:
    with db.engine.begin() as connection:
        return lease_lookup(connection, one)


def _patiently(one: OpenMessage, pace: LookupThrottle) -> LookupOutcome:
    """Look up at the rate that the workers share, and again after a pause if Twilio is busy."""
    for _ in range(BUSY_TRIES):
        Event().wait(pace.reserve())
        try:
            finding = look_up_message(one)
        except CarrierBusyError:
            pace.back_off([])
            continue
        pace.reset_failures()
        return finding
    Event().wait(pace.reserve())
    return look_up_message(one)
