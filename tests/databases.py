"""Databases of the tests: migrated once, then emptied for each test at little cost."""

import psycopg
from flask_migrate import upgrade
from sqlalchemy import text

from smstracker import create_app
from smstracker.extensions import db
from tests.live_settings import settings
from tests.serving import close

DATABASES = ("sqlite", "postgresql")


def migrate(url: str) -> None:
    app = create_app(settings(DATABASE_URL=url))
    with app.app_context():
        upgrade()
    close(app)


def empty_postgresql(url: str) -> None:
    """Delete all rows but those that a migration has inserted, and start the ids anew.

    To delete few rows costs a fraction of TRUNCATE, which makes new files for all tables.
    """
    tables = reversed(db.metadata.sorted_tables)
    statements = [f'DELETE FROM "{table.name}"' for table in tables]
    statements.append("INSERT INTO feed_cursor VALUES ('insights', 0, 0)")
    statements.append("INSERT INTO insight_coverage VALUES ('insights', 0, 0)")
    statements.append("SELECT setval(oid::regclass, 1, false) FROM pg_class WHERE relkind = 'S'")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("; ".join(statements))


def await_lock_wait() -> None:
    """Return when somebody waits for a lock of PostgreSQL.

    On SQLite it waits for the whole file, which nothing tells and no order can change.
    """
    if db.engine.dialect.name == "sqlite":
        return
    waiting = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    for _ in range(20_000):
        with db.engine.connect() as connection:
            if connection.scalar(waiting):
                return
    raise AssertionError("nobody waits")
