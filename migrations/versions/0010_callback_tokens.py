"""Which token signed a callback, callbacks that could not be stored, and deleted messages.

Look-ups of before stored "gone", which moved nothing; those messages are asked about once more.
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

# The words from which a message may have moved to "deleted", by rank.
WAITING = ("pending", "unknown", "scheduled", "accepted", "queued", "sending")
WAITING += ("sent", "partially_delivered")
SHOWN = ("status", "status_at", "status_source")

message = sa.table(
    "message",
    *map(sa.column, ("id", "twilio_sid", "final_at", "next_lookup_at", "created_at", *SHOWN)),
)
event = sa.table(
    "status_event", *map(sa.column, ("id", "message_id", "status", "source", "received_at"))
)


def upgrade() -> None:
    op.add_column("status_event", sa.Column("token_mark", sa.String(length=8), nullable=True))
    not_stored = sa.Column("not_stored", sa.Integer(), server_default="0", nullable=False)
    op.add_column("callback_tally", not_stored)
    gone = sa.select(event.c.message_id).where(event.c.status == "gone")
    waiting = message.c.final_at.is_(None) & message.c.next_lookup_at.is_(None)
    op.execute(
        sa.update(message)
        .where(waiting, message.c.twilio_sid.is_not(None), message.c.id.in_(gone))
        .values(next_lookup_at=message.c.created_at)
    )
    _rename("gone", "deleted")


def downgrade() -> None:
    values = {
        "status": sa.func.coalesce(_before(event.c.status), "accepted"),
        "status_at": sa.func.coalesce(_before(event.c.received_at), message.c.status_at),
        "status_source": sa.func.coalesce(_before(event.c.source), message.c.status_source),
    }
    is_deleted = message.c.status == "deleted"
    op.execute(sa.update(message).where(is_deleted).values(final_at=None, **values))
    _rename("deleted", "gone")
    op.drop_column("callback_tally", "not_stored")
    op.drop_column("status_event", "token_mark")


def _before(column: sa.ColumnClause) -> sa.ScalarSelect:
    """A column of the event that the message had its status from before it was deleted."""
    rank = sa.case({word: rank for rank, word in enumerate(WAITING)}, value=event.c.status)
    return (
        sa.select(column)
        .where(event.c.message_id == message.c.id, event.c.status.in_(WAITING))
        .order_by(rank.desc(), event.c.received_at, event.c.id)
        .limit(1)
        .scalar_subquery()
    )


def _rename(old: str, new: str) -> None:
    is_ours = (event.c.status == old) & (event.c.source == "lookup")
    op.execute(sa.update(event).where(is_ours).values(status=new))
