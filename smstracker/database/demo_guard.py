"""Keep demo mode, where everybody may sign in, away from the database of a real installation."""

from contextlib import suppress
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.exc import SQLAlchemyError

from config import ConfigError
from smstracker.database.problems import LIVE, NOT_MIGRATED, LiveDatabaseError, explain


def refuse_live_database(engine: Engine) -> None:
    """Raise ConfigError if the database is a real installation's.

    One that cannot be used now is judged once it can: nobody gets a connection before.
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
    """Judges each new connection of an engine.

    Not the start alone: the database may be away then, have no tables yet, or become a live one.
    """

    def __init__(self, engine: Engine) -> None:
        self._errors = engine.dialect.loaded_dbapi.Error
        event.listen(engine, "connect", self._judge)

    def _judge(self, connection: Any, _record: object) -> None:
        try:
            is_live = _is_live(connection)
        except self._errors as error:
            if explain(error) is NOT_MIGRATED:
                connection.rollback()
                return
            connection.close()
            raise
        if is_live:
            connection.close()
            raise LiveDatabaseError


def _is_live(connection: Any) -> bool:
    cursor = connection.cursor()
    cursor.execute("SELECT 1 FROM message WHERE NOT simulated LIMIT 1")
    row = cursor.fetchone()
    cursor.close()
    connection.rollback()
    return row is not None
