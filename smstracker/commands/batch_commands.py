"""flask batches: what is sent to many, for all users."""

import uuid
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import click
from sqlalchemy import select

from smstracker.batches import control
from smstracker.batches.control import LongPauseError
from smstracker.batches.progress import read_progress
from smstracker.clock import utcnow
from smstracker.command_name import COMMAND
from smstracker.commands.database_errors import DatabaseErrorGroup
from smstracker.commands.output import confirm, echo
from smstracker.database.engine import READS_ONLY
from smstracker.extensions import db
from smstracker.models import Batch, User
from smstracker.models.audit_log import COMMAND_LINE
from smstracker.models.batches import UNDER_WAY, BatchState
from smstracker.plurals import format_count

LISTED = 50

batches = DatabaseErrorGroup("batches", help="What is sent to many people at once.")


@batches.command("list")
def list_() -> None:
    """List the newest batches: id, state, progress and owner. No names, texts or numbers."""
    db.session.connection(execution_options={READS_ONLY: True})
    query = select(Batch, User.email).join(User, User.id == Batch.owner_id)
    rows = db.session.execute(query.order_by(Batch.id.desc()).limit(LISTED)).all()
    if not rows:
        echo("No batches.")
    for batch, email in rows:
        echo("  ".join((str(batch.public_id), batch.state, _describe(batch), email)))


def _describe(batch: Batch) -> str:
    if not batch.is_started:
        return f"{batch.good_count:,} of {format_count(batch.row_count, 'row')} can be sent"
    progress = read_progress(batch, utcnow())
    return f"{progress.handed_over:,} of {progress.total:,} handed over"


@batches.command()
@click.argument("batch_id", metavar="ID")
def pause(batch_id: str) -> None:
    """Pause the batch ID: nothing more of it is handed to Twilio."""
    _change(_find_batch(batch_id), control.pause)
    echo("The batch is paused.")


@batches.command()
@click.argument("batch_id", metavar="ID")
@click.option("--yes", is_flag=True, help="Do not ask after a pause of days.")
def resume(batch_id: str, yes: bool) -> None:
    """Go on with the paused batch ID."""
    batch = _find_batch(batch_id)
    try:
        _change(batch, partial(control.resume, knows_pause=yes))
    except LongPauseError as error:
        db.session.rollback()
        confirm(f"{error} Send the rest now?")
        _change(batch, partial(control.resume, knows_pause=True))
    echo("The batch goes on.")


@batches.command()
@click.argument("batch_id", metavar="ID")
@click.option("--yes", is_flag=True, help="Do not ask.")
def stop(batch_id: str, yes: bool) -> None:
    """Stop the rest of the batch ID. This cannot be undone."""
    batch = _find_batch(batch_id)
    if batch.state in UNDER_WAY and not yes:
        progress = read_progress(batch, utcnow())
        db.session.rollback()
        messages = format_count(progress.total, "message")
        confirm(f"{progress.waiting_here:,} of {messages} will not be sent. Stop the batch?")
    _change(batch, control.stop)
    progress = read_progress(batch, utcnow())
    echo(
        f"The batch is stopped. Handed over: {progress.handed_over:,}. "
        f"Will not be sent: {progress.total - progress.handed_over:,}."
    )


def _find_batch(text: str) -> Batch:
    """The batch whose id is typed. Raises ClickException."""
    batch = None
    with suppress(ValueError):
        batch = db.session.scalar(select(Batch).where(Batch.public_id == uuid.UUID(text)))
    if batch is None:
        sentence = f"There is no batch with that id. Give the id that {COMMAND} batches list shows."
        raise click.ClickException(sentence)
    return batch


def _change(batch: Batch, act: Callable[[int, str], bool]) -> None:
    if not act(batch.id, COMMAND_LINE):
        db.session.rollback()
        state = BatchState(batch.state)
        raise click.ClickException(f"Nothing was changed: the batch is {state}.")
    db.session.commit()
