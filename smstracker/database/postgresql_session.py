"""Parameters of each PostgreSQL session, behind a connection pooler too."""

import time
from typing import TYPE_CHECKING

from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine, ExceptionContext
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.pool import ConnectionPoolEntry

if TYPE_CHECKING:
    import psycopg

# SQL expressions, over which the URL wins. One locked row must not hold up every callback that
# waits behind it.
TIME_LIMITS = {
    "lock_timeout": "'2s'",
    "statement_timeout": "'10s'",
    "idle_in_transaction_session_timeout": "'15s'",
}
# A plan that is kept was made for the size that a table had then: for an empty one, it would read
# the whole table ever after.
DEFAULTS = TIME_LIMITS | {"plan_cache_mode": "'force_custom_plan'"}
# Nothing wins over this: an answered commit is on the disk, with `remote_apply` on the standby too.
DURABILITY = {
    "synchronous_commit": "CASE current_setting('synchronous_commit')"
    " WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END"
}
# Key of a pooled connection's `info`: the parameters to set in each transaction.
SESSION_PARAMETERS = "session_parameters"
USED_AT = "used_at"  # likewise: when it went back to the pool, in monotonic seconds
READ_ONLY = "25006"  # PostgreSQL's code for a write in a read-only transaction
MAX_IDLE_SECONDS = 1.0  # without a ping


def set_session_parameters(
    connection: "psycopg.Connection[tuple[int, str | None]]", record: ConnectionPoolEntry
) -> None:
    """Set the parameters by SQL, outside of a transaction: no rollback undoes it.

    Parameters set by the URL, a service or PGOPTIONS have the source `client` and stay. A pooler
    lends another session to each transaction, which must keep neither our parameters nor a prepared
    statement. Its process id gives it away: it differs from the session's.
    """
    connection.autocommit = True
    query = "SELECT pg_backend_pid(), name FROM pg_settings WHERE name = ANY(%s)"
    rows = connection.execute(
        f"{query} AND source <> 'client' UNION SELECT pg_backend_pid(), NULL", [[*DEFAULTS]]
    ).fetchall()
    parameters = DURABILITY | {name: DEFAULTS[name] for _, name in rows if name}
    if connection.info.backend_pid != rows[0][0]:
        connection.prepare_threshold = None
        record.info[SESSION_PARAMETERS] = parameters
    else:
        connection.execute(_set_config(parameters, "false"))
    connection.autocommit = False


def ping_after_pause(engine: Engine) -> None:
    """Try a pooled connection before use if it was idle, as the server may have ended it.

    SQLAlchemy's `pool_pre_ping` would cost each transaction a round trip.
    """

    @event.listens_for(engine, "checkin")
    def note_use(_connection: object, record: ConnectionPoolEntry) -> None:
        record.info[USED_AT] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def ping(connection: DBAPIConnection, record: ConnectionPoolEntry, _proxy: object) -> None:
        used_at = record.info.get(USED_AT)
        if used_at is not None and time.monotonic() - used_at > MAX_IDLE_SECONDS:
            try:
                engine.dialect.do_ping(connection)
            except engine.dialect.loaded_dbapi.Error as error:
                raise InvalidatePoolError from error


def end_read_only_sessions(engine: Engine) -> None:
    """Discard the pooled sessions when one cannot write: later ones may, after a failover."""

    @event.listens_for(engine, "handle_error")
    def discard(context: ExceptionContext) -> None:
        if getattr(context.original_exception, "sqlstate", None) == READ_ONLY:
            context.is_disconnect = True


def set_transaction_parameters(connection: Connection) -> None:
    """Set the parameters in each transaction behind a pooler."""
    parameters = connection.info.get(SESSION_PARAMETERS)
    if parameters:
        connection.exec_driver_sql(_set_config(parameters, "true"))


def _set_config(parameters: dict[str, str], is_local: str) -> str:
    """Return a SELECT that sets the parameters to their SQL expressions, all of them ours."""
    calls = [f"set_config('{name}', {value}, {is_local})" for name, value in parameters.items()]
    return f"SELECT {', '.join(calls)}"
