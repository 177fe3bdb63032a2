"""How the worker logs an error after which it goes on."""

import logging

from sqlalchemy.exc import SQLAlchemyError

from smstracker.database.problems import explain, log_reason

log = logging.getLogger(__name__)


def log_error(error: Exception) -> None:
    """Log an error, with its trace unless it is the database's."""
    is_expected = isinstance(error, SQLAlchemyError) or explain(error) is not None
    level = logging.WARNING if is_expected else logging.ERROR
    fields = {"reason": log_reason(error)}
    log.log(level, "worker_waits", exc_info=None if is_expected else error, extra=fields)
