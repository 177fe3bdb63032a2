"""flask worker and flask purge: the work beside the web server."""

import time

import click
from flask.cli import with_appcontext

from smstracker import logs
from smstracker.commands.database_errors import DatabaseErrorCommand
from smstracker.web.health import database_problem
from smstracker.worker.loop import run_worker
from smstracker.worker.maintenance import purge as purge_now

# Seconds in which a database that is just starting may come. Later on it is waited for without end.
PATIENCE = 10


@click.command("worker", cls=DatabaseErrorCommand)
@click.option("--wait", "is_patient", is_flag=True, help="Wait without end for a database.")
@with_appcontext
def worker(is_patient: bool) -> None:
    """Ask Twilio about messages that have fallen silent, until SIGTERM. Several may run at once."""
    _wait_for_database(is_patient)
    logs.configure()
    run_worker()


def _wait_for_database(is_patient: bool) -> None:
    """Raise ClickException for what does not pass, and after a while for what does."""
    deadline = time.monotonic() + PATIENCE
    while problem := database_problem():
        if problem.is_temporary and is_patient:
            return  # its loop waits, and says so in the log
        if not problem.is_temporary or time.monotonic() > deadline:
            raise click.ClickException(problem.sentence)
        time.sleep(1)


@click.command("purge", cls=DatabaseErrorCommand)
@with_appcontext
def purge() -> None:
    """Delete what is past its time: refused callbacks, counts, sign-in tokens. Never a message."""
    for what, count in purge_now().items():
        click.echo(f"{count:>6}  {what}")
