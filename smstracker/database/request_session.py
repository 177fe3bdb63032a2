"""The database session of requests: it reads, except where a view says that it writes.

Whoever may write on SQLite keeps every callback waiting, so no form is checked and no page made
meanwhile.
"""

from typing import Any

from flask import has_request_context
from flask_sqlalchemy.session import Session
from sqlalchemy import Connection, Engine

from smstracker.database.engine import READS_ONLY

WRITES, READER = "writes", "reader"  # keys of a session's `info`


class RequestSession(Session):
    """Gets no write lock in a request but within `extensions.writing`; elsewhere always."""

    def get_bind(self, *args: Any, **kwargs: Any) -> Engine | Connection:
        engine = super().get_bind(*args, **kwargs)
        if self.info.get(WRITES) or not has_request_context():
            return engine
        if READER not in self.info:  # the same one for the whole session
            self.info[READER] = engine.execution_options(**{READS_ONLY: True})
        reader: Engine = self.info[READER]
        return reader
