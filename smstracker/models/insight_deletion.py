"""Keeps the place of deleted messages in the totals of /insights."""

from collections.abc import Collection
from functools import partial

from sqlalchemy import Connection

from smstracker.database.engine import excluded, upsert
from smstracker.models.creation_time import limit_to_ids
from smstracker.models.insight_counts import ROLLUPS, count, rollup_rows
from smstracker.models.insight_coverage import request_recount
from smstracker.models.insight_rollups import SHARED_KEY


def keep_totals(connection: Connection, message_ids: Collection[int]) -> None:
    """Add messages to the rows of deleted ones; delete them in the same transaction.

    Without a receipt by then, they count as "no receipt".
    """
    request_recount(connection, message_ids)
    for table in ROLLUPS:
        totals = count(connection, table, partial(limit_to_ids, message_ids=message_ids))
        sums = {name: table.__table__.c[name] + excluded(name) for name in table.sums()}
        statement = upsert(connection.dialect.name, table, (*SHARED_KEY, *table.key()), sums)
        # In the order of their keys, so that two deletions cannot lock each other out.
        for row in rollup_rows(table, totals, is_deleted=True):
            connection.execute(statement.values(row))
