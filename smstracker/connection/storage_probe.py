"""Whether the database takes what is written: if it does not, nothing else is at fault."""

from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from smstracker.database.problems import (
    LOCKED,
    UNREACHABLE,
    WRITE_PROBLEMS,
    DatabaseProblem,
    explain,
)
from smstracker.extensions import db
from smstracker.web.health import database_problem
from smstracker.webhooks.writer import current_writer

# A row that is always there, and a change that changes nothing.
_PROBE = text("UPDATE alembic_version SET version_num = version_num")
# What is tried is small, and may still find room on a disk that was too full a moment ago.
A_MOMENT = timedelta(seconds=10)


def storage_problem(now: datetime) -> DatabaseProblem | None:
    """What keeps the database from storing anything at `now`; None if a write goes through.

    A lock is none: then somebody else writes.
    """
    failure = current_writer().failure
    recent = failure[0] if failure and abs(now - failure[1]) < A_MOMENT else None
    problem = _tried() or no_room() or recent
    return None if problem is LOCKED else problem


def no_room() -> DatabaseProblem | None:
    """What keeps the database from being written, as /readyz sees it: within seconds."""
    problem = database_problem()
    return problem if problem in WRITE_PROBLEMS else None


def _tried() -> DatabaseProblem | None:
    try:
        with db.engine.begin() as connection:
            connection.execute(_PROBE)
    except SQLAlchemyError as error:
        return explain(error) or UNREACHABLE
    return None
