"""Guard that keeps demo mode, where everybody may sign in, off a live installation's database."""

from collections.abc import Iterable
from contextlib import suppress
from datetime import timedelta

from sqlalchemy import Engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import InvalidatePoolError, SQLAlchemyError

from smstracker.clock import utcnow
from smstracker.database.problems import LIVE, NOT_MIGRATED, LiveDatabaseError, explain
from smstracker.settings.reader import ConfigError

# Messages of a live account; users whom a live installation admitted, by command or by
# SIGN_IN_ALLOW; its sessions. The first query works on a database of any version, so it comes
# first.
LIVE_SIGN_QUERIES = (
    "SELECT 1 FROM message WHERE NOT simulated LIMIT 1",
    """SELECT 1 FROM "user" WHERE let_in_by IN ('added-live', 'setting') LIMIT 1""",
    "SELECT 1 FROM user_session WHERE NOT is_demo LIMIT 1",
)
# The same for a running demo: new messages are among the newest, and all messages are too many to
# search each time.
NEW_LIVE_SIGN_QUERIES = (
    """SELECT 1 FROM (SELECT simulated FROM message ORDER BY id DESC LIMIT 100) AS newest
    WHERE NOT simulated LIMIT 1""",
    *LIVE_SIGN_QUERIES[1:],
)
CHECK_INTERVAL = timedelta(seconds=1)


def refuse_live_database(engine: Engine) -> None:
    """Raise ConfigError if the database belongs to a live installation.

    A database that cannot be used now is checked at its first connection.
    """
    DemoGuard(engine)
    try:
        with suppress(SQLAlchemyError):
            engine.connect().close()
    except LiveDatabaseError as error:
        raise ConfigError([str(LIVE)]) from error
    finally:
        engine.dispose()  # gunicorn's workers are forked from here


class DemoGuard:
    """Checks each new connection of an engine, and once a second a reused one.

    A check at the start is not enough: the database may be away then, have no tables yet, or become
    a live one later.
    """

    def __init__(self, engine: Engine) -> None:
        self._errors = engine.dialect.loaded_dbapi.Error
        self._checked_at = utcnow()
        event.listen(engine, "connect", self._check)
        event.listen(engine, "checkout", self._check_again)

    def _check(self, connection: DBAPIConnection, _record: object) -> None:
        if self._is_live(connection, LIVE_SIGN_QUERIES):
            connection.close()
            raise LiveDatabaseError

    def _check_again(self, connection: DBAPIConnection, _record: object, _proxy: object) -> None:
        """Invalidate all connections if the database is live now; new ones are refused."""
        now = utcnow()
        if abs(now - self._checked_at) < CHECK_INTERVAL:
            return
        if self._is_live(connection, NEW_LIVE_SIGN_QUERIES):
            raise InvalidatePoolError
        self._checked_at = now

    def _is_live(self, connection: DBAPIConnection, queries: Iterable[str]) -> bool:
        try:
            return any(_has_row(connection, query) for query in queries)
        except self._errors as error:
            if explain(error) is NOT_MIGRATED:
                connection.rollback()
                return False
            connection.close()
            raise


def _has_row(connection: DBAPIConnection, query: str) -> bool:
    cursor = connection.cursor()
    cursor.execute(query)
    row = cursor.fetchone()
    cursor.close()
    connection.rollback()
    return row is not None
