"""Find out whether the database can be written."""

from datetime import datetime, timedelta

from smstracker.database.problems import LOCKED, DatabaseProblem
from smstracker.web.health import database_problem
from smstracker.webhooks.writer import current_writer

FAILURE_LIFETIME = timedelta(seconds=10)


def find_storage_problem(now: datetime, must_write: bool) -> DatabaseProblem | None:
    """What keeps the database from storing anything, None if it stores.

    Otherwise than by `must_write` it is what /readyz knows, a few seconds old at most. A lock is no
    problem: then somebody else writes.
    """
    problem = database_problem(must_write=must_write)
    if problem and problem.is_write_problem:
        return problem
    if must_write and (failure := current_writer().failure):
        problem, failed_at = failure
        if problem is not LOCKED and abs(now - failed_at) < FAILURE_LIFETIME:
            return problem
    return None
