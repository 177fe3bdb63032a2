"""flask worker and flask purge: work beside the web server."""

import time

import click
from flask.cli import with_appcontext

from smstracker import logs
from smstracker.commands.database_errors import CommandWithPlainErrors
from smstracker.commands.output import echo
from smstracker.privacy.disk_traces import vacuum
from smstracker.web.health import database_problem
from smstracker.worker.loop import run_worker
from smstracker.worker.maintenance import purge as purge_now

# For a database that is just starting; once the worker runs, it waits without end.
MAX_WAIT_SECONDS = 10


@click.command("worker", cls=CommandWithPlainErrors)
@click.option("--wait", is_flag=True, help="Wait without end for a database.")
@with_appcontext
def worker(wait: bool) -> None:
    """Look up silent messages at Twilio until SIGTERM. Several workers may run at once."""
    _wait_for_database(wait)
    logs.configure()
    run_worker()


def _wait_for_database(without_end: bool) -> None:
    """Raise ClickException for a lasting problem at once, for a passing one after a while."""
    deadline = time.monotonic() + MAX_WAIT_SECONDS
    while problem := database_problem():
        if problem.is_temporary and without_end:
            return  # the loop waits and logs it
        if not problem.is_temporary or time.monotonic() > deadline:
            raise click.ClickException(problem.sentence)
        time.sleep(1)


@click.command("purge", cls=CommandWithPlainErrors)
@click.option("--vacuum", "is_vacuum", is_flag=True, help="Write the SQLite file anew as well.")
@with_appcontext
def purge(is_vacuum: bool) -> None:
    """Delete expired data: what the worker deletes once a day.

    --vacuum removes what SQLite has left of deleted rows; nothing can be stored meanwhile.
    """
    for name, count in purge_now().items():
        echo(f"{count:>6}  {name}")
    if is_vacuum:
        vacuum()
