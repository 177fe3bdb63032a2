"""Find out whether the database can be written."""

from datetime import datetime, timedelta

from sqlalchemy.exc import SQLAlchemyError

from smstracker.database import problems
from smstracker.extensions import db
from smstracker.web.health import database_problem
from smstracker.webhooks.writer import current_writer

# The trial write is small: it may find room on a disk that was too full a moment ago.
FAILURE_LIFETIME = timedelta(seconds=10)


def find_storage_problem(now: datetime) -> problems.DatabaseProblem | None:
    """Try to write: what keeps the database from storing anything, None if it stores.

    A lock is no problem: then somebody else writes.
    """
    failure = current_writer().failure
    recent = failure[0] if failure and abs(now - failure[1]) < FAILURE_LIFETIME else None
    problem = _try_write() or known_storage_problem() or recent
    return None if problem is problems.LOCKED else problem


def known_storage_problem() -> problems.DatabaseProblem | None:
    """The storage problem that /readyz knows, a few seconds old at most; nothing is tried."""
    problem = database_problem()
    return problem if problem and problem.is_write_problem else None


def _try_write() -> problems.DatabaseProblem | None:
    try:
        with db.engine.begin() as connection:
            # The row always exists, and the update changes nothing.
            connection.exec_driver_sql("UPDATE alembic_version SET version_num = version_num")
    except SQLAlchemyError as error:
        return problems.explain(error) or problems.UNREACHABLE
    return None
