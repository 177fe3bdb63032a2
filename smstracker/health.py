"""Whether the process lives, and whether it can do its work."""

import logging
from functools import cache

from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from flask import Blueprint, current_app
from flask.typing import ResponseReturnValue

from smstracker.extensions import db

log = logging.getLogger(__name__)
bp = Blueprint("health", __name__)


@bp.get("/healthz")
def healthz() -> ResponseReturnValue:
    return {"status": "ok"}


@bp.get("/readyz")
def readyz() -> ResponseReturnValue:
    problem = database_problem()
    if problem:
        log.warning("not_ready", extra={"reason": problem})
        return {"status": "unavailable", "problem": problem}, 503
    return {"status": "ok"}


def database_problem() -> str | None:
    """What keeps the database from being used, None if nothing does."""
    try:
        with db.engine.connect() as connection:
            current = MigrationContext.configure(connection).get_current_heads()
    except Exception:
        return "the database cannot be reached"
    return (
        None if set(current) == set(_heads()) else "the database is not migrated: flask db upgrade"
    )


@cache
def _heads() -> tuple[str, ...]:
    config = current_app.extensions["migrate"].migrate.get_config()
    return tuple(ScriptDirectory.from_config(config).get_heads())
