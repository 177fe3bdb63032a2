"""Transactions that wait longer for another one than the database does."""

from collections.abc import Callable
from threading import Event
from time import monotonic
from typing import TypeVar

from sqlalchemy.exc import DBAPIError

from smstracker.database.problems import LOCKED, explain

ResultT = TypeVar("ResultT")

# PostgreSQL gives up after two seconds, so that no callback waits; commands and jobs have time.
PATIENCE_SECONDS = 20.0
PAUSE_SECONDS = 0.05


def repeat_while_locked(transaction: Callable[[], ResultT]) -> ResultT:
    """Run a transaction, and again as long as another one holds what it needs.

    Also if two waited for each other, of which PostgreSQL ends one. Nothing of an attempt that
    failed is stored. Raises the error of the last one after PATIENCE_SECONDS.
    """
    deadline = monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return transaction()
        except DBAPIError as error:
            if explain(error) is not LOCKED or monotonic() > deadline:
                raise
        Event().wait(PAUSE_SECONDS)
