"""flask worker and flask purge: the work beside the web server."""

import click
from flask.cli import with_appcontext

from smstracker import logs
from smstracker.commands.plainly import PlainCommand
from smstracker.worker.loop import run_worker
from smstracker.worker.upkeep import purge as purge_now


@click.command("worker")
@with_appcontext
def worker() -> None:
    """Ask Twilio about messages that have fallen silent, until SIGTERM. Several may run at once."""
    logs.configure()
    run_worker()


@click.command("purge", cls=PlainCommand)
@with_appcontext
def purge() -> None:
    """Delete what is past its time: refused callbacks, counts, sign-in tokens. Never a message."""
    for what, count in purge_now().items():
        click.echo(f"{count:>6}  {what}")
