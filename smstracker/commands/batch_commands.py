"""flask batches: what is sent to many, for all users."""

import uuid
from collections.abc import Callable
from functools import partial

import click
from sqlalchemy import select

from smstracker.batches import control
from smstracker.batches.control import LongPauseError
from smstracker.batches.progress import read_progress
from smstracker.clock import utcnow
from smstracker.commands.database_errors import DatabaseErrorGroup
from smstracker.commands.output import confirm, echo
from smstracker.database.engine import READS_ONLY
from smstracker.extensions import db
from smstracker.models import Batch, User
from smstracker.models.batches import BatchState
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
@click.argument("batch_id", metavar="ID", type=click.UUID)
def pause(batch_id: uuid.UUID) -> None:
    """Pause the batch ID: nothing more of it is handed to Twilio."""
    _change(batch_id, control.pause, "is paused")


@batches.command()
@click.argument("batch_id", metavar="ID", type=click.UUID)
@click.option("--yes", is_flag=True, help="Do not ask after a pause of days.")
def resume(batch_id: uuid.UUID, yes: bool) -> None:
    """Go on with the paused batch ID."""
    try:
        _change(batch_id, partial(control.resume, knows_pause=yes), "goes on")
    except LongPauseError as error:
        db.session.rollback()
        confirm(f"{error} Send the rest now?")
        _change(batch_id, partial(control.resume, knows_pause=True), "goes on")


@batches.command()
@click.argument("batch_id", metavar="ID", type=click.UUID)
def stop(batch_id: uuid.UUID) -> None:
    """Stop the rest of the batch ID. This cannot be undone."""
    _change(batch_id, control.stop, "is stopped")


def _change(batch_id: uuid.UUID, act: Callable[[int], bool], result: str) -> None:
    batch = db.session.scalar(select(Batch).where(Batch.public_id == batch_id))
    if batch is None:
        raise click.ClickException("There is no batch with that id.")
    if not act(batch.id):
        db.session.rollback()
        state = BatchState(batch.state)
        raise click.ClickException(f"Nothing was changed: the batch is {state}.")
    db.session.commit()
    echo(f"The batch {result}.")
