"""Alembic's environment: one history for SQLite and PostgreSQL, run inside the Flask app."""

from alembic import context
from flask import current_app

from smstracker import models
from smstracker.database import include_object
from smstracker.extensions import db

__all__ = ["models"]  # imported, because the tables register themselves


def skip_empty(_context: object, _revision: object, directives: list) -> None:
    """Write no migration when the models have not changed."""
    is_generated = getattr(context.config.cmd_opts, "autogenerate", False)
    if is_generated and directives[0].upgrade_ops.is_empty():
        directives[:] = []


with db.engine.connect() as connection:
    arguments = {"process_revision_directives": skip_empty}
    arguments["include_object"] = include_object
    arguments |= current_app.extensions["migrate"].configure_args
    context.configure(connection=connection, target_metadata=db.metadata, **arguments)
    if connection.dialect.name == "postgresql":
        # A migration may take long, and of two machines that start at once one has to wait.
        for limit in ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout"):
            connection.exec_driver_sql(f"SET {limit} = 0")
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(4242)")
    with context.begin_transaction():
        context.run_migrations()
    # SQLite: our engine opens transactions itself, so what Alembic leaves open is committed here.
    connection.commit()
