"""Whether the database takes what is written: if it does not, nothing else is at fault."""

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from smstracker.database_problems import UNREACHED, DatabaseProblem, explain
from smstracker.extensions import db

# A row that is always there, and a change that changes nothing.
_PROBE = text("UPDATE alembic_version SET version_num = version_num")


def storage_problem() -> DatabaseProblem | None:
    """What keeps the database from storing anything now; None if a write goes through."""
    try:
        with db.engine.begin() as connection:
            connection.execute(_PROBE)
    except SQLAlchemyError as error:
        return explain(error) or UNREACHED
    return None
