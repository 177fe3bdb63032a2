"""Alembic's environment: one history for SQLite and PostgreSQL, run inside the Flask app."""

import time
from contextlib import nullcontext

import click
from alembic import context
from alembic.runtime.migration import MigrationInfo
from alembic.util import CommandError
from flask import current_app

from smstracker import models
from smstracker.command_name import COMMAND
from smstracker.database.engine import include_object
from smstracker.database.postgresql_session import TIME_LIMITS
from smstracker.database.problems import DATABASE_ERRORS, NOT_MIGRATED, explain
from smstracker.database.sqlite_file import allow_new_file, sole_migration
from smstracker.extensions import db
from smstracker.settings.database_url import sqlite_path

__all__ = ["models"]  # imported, because the tables register themselves


def skip_empty(_context: object, _revision: object, directives: list) -> None:
    """Write no migration when the models have not changed."""
    is_generated = getattr(context.config.cmd_opts, "autogenerate", False)
    if is_generated and directives[0].upgrade_ops.is_empty():
        directives[:] = []


class Progress:
    """Counts the steps of this run and says, once it is over, what it did."""

    def __init__(self) -> None:
        self.steps = 0
        self.began = time.monotonic()
        self.is_stamp = False

    def count(self, *, step: MigrationInfo, **_rest: object) -> None:
        self.steps += 1
        self.is_stamp = step.is_stamp

    def tell(self, before: tuple[str, ...], after: tuple[str, ...]) -> None:
        seconds = time.monotonic() - self.began
        if self.is_stamp:
            click.echo(f"The database is marked as {_named(after)}; nothing else was changed.")
        elif self.steps:
            steps = "1 step" if self.steps == 1 else f"{self.steps} steps"
            route = f"from {_named(before)} to {_named(after)}"
            click.echo(f"The database was brought {route}: {steps} in {seconds:.1f} seconds.")
            if set(after) != set(context.script.get_heads()):
                click.echo(f"smstracker does not run on that. To get back: {COMMAND} db upgrade")
        elif set(after) == set(context.script.get_heads()):
            click.echo(f"The database is already up to date ({_named(after)}).")
        else:
            click.echo(f"There was nothing to do: the database is at {_named(after)}.")


def _named(revisions: tuple[str, ...]) -> str:
    return ", ".join(sorted(revisions)) or "empty"


def moves_schema() -> bool:
    """Whether this is an upgrade, downgrade or stamp: they alone have a destination."""
    try:
        context.get_revision_argument()
    except KeyError:
        return False
    return not context.is_offline_mode()


def run() -> None:
    progress = Progress()
    with sole_migration(sqlite_path(db.engine.url)), db.engine.connect() as connection:
        arguments = {"process_revision_directives": skip_empty}
        arguments["include_object"] = include_object
        arguments["on_version_apply"] = progress.count
        arguments |= current_app.extensions["migrate"].configure_args
        context.configure(connection=connection, target_metadata=db.metadata, **arguments)
        if connection.dialect.name == "postgresql":
            # A migration may take long, and of two machines that start at once one has to wait.
            # For this transaction only: behind a pooler the session is not ours to change.
            for limit in TIME_LIMITS:
                connection.exec_driver_sql(f"SET LOCAL {limit} = 0")
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(4242)")
        before = context.get_context().get_current_heads()
        with context.begin_transaction():
            context.run_migrations()
        after = context.get_context().get_current_heads()
        # SQLite: our engine opens transactions itself, so what Alembic leaves open is committed.
        connection.commit()
    if moves_schema():
        progress.tell(before, after)


def may_make_file() -> bool:
    """Whether this is `flask db upgrade` or the upgrade of `make run`."""
    command = click.get_current_context(silent=True)
    return command is None or command.info_name == "upgrade"


try:
    with allow_new_file() if may_make_file() else nullcontext():
        run()
except CommandError as error:
    # Of a revision that we do not have, as in the database of a newer version.
    raise click.ClickException(f"{str(error).rstrip('.')}.") from error
except DATABASE_ERRORS as error:
    problem = explain(error)
    # While a table is made, a missing one is a fault of the migration.
    if problem is None or problem is NOT_MIGRATED:
        raise
    raise click.ClickException(problem.sentence) from error
