"""Find out whether the database can be written."""

from datetime import datetime, timedelta

from smstracker.database.problems import LOCKED, DatabaseProblem
from smstracker.web.health import database_problem
from smstracker.webhooks.writer import current_writer

FAILURE_LIFETIME = timedelta(seconds=10)


def find_storage_problem(now: datetime, must_write: bool) -> DatabaseProblem | None:
    """Return what keeps the database from storing anything, None if it stores.

    With `must_write`, try a write; otherwise return what /readyz knows, a few seconds old at most.
    A lock is no problem: then somebody else writes.
    """
    problem = database_problem(must_write=must_write)
    if not must_write:
        return problem if problem and problem.is_write_problem else None
    if problem is None and (failure := current_writer().failure):
        last_problem, failed_at = failure
        problem = last_problem if abs(now - failed_at) < FAILURE_LIFETIME else None
    return None if problem is LOCKED else problem
