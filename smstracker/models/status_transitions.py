"""Status changes: a single conditional UPDATE, derived from `status.RANK`."""

from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import (
    String,
    and_,
    bindparam,
    case,
    exists,
    false,
    func,
    literal_column,
    null,
    or_,
    update,
)
from sqlalchemy.engine import Connection
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.sql import ColumnElement
from sqlalchemy.sql.dml import ReturningUpdate

from smstracker.database.engine import UtcDateTime
from smstracker.models.events import StatusEvent, StatusUpdate
from smstracker.models.messages import Message
from smstracker.sms import status
from smstracker.sms.lookup_schedule import NEVER_ASKED_ABOUT, first_lookup

_CODE = bindparam("code", type_=String())


def apply_transition(connection: Connection, message_id: int, status_update: StatusUpdate) -> bool:
    """Change a message's status if the update ranks higher; True if it did."""
    if status_update.status not in status.RANK:
        return False
    statement = conditional_update(status_update.status)
    stored = connection.execute(statement, transition_parameters(message_id, status_update)).first()
    expected = (status_update.status, status_update.received_at, status_update.source)
    return stored is not None and tuple(stored) == expected


def transition_parameters(
    message_id: int, status_update: StatusUpdate
) -> dict[str, int | str | datetime | None]:
    """Return the parameters of `conditional_update` and `transition_columns`."""
    return {
        "message_id": message_id,
        "code": status_update.error_code,
        "at": status_update.received_at,
        "source": status_update.source,
        "first_lookup_at": first_lookup(status_update.status, status_update.received_at),
    }


@cache
def conditional_update(word: str) -> ReturningUpdate[tuple[str, datetime, str | None]]:
    """Return the UPDATE to `word`, which applies if the stored status ranks below it.

    The same outcome only fills in a missing error code. A contradiction only sets `has_conflict`;
    it is looked for in the status, which another transaction may just have changed, and in the
    events, because the status keeps only the last outcome (failed, delivered, read).
    """
    changes = or_(_rises(word), _fills_in(word), and_(_contradicts(word), ~Message.has_conflict))
    return (
        update(Message)
        .where(Message.id == bindparam("message_id"), changes)
        .values(**transition_columns(word))
        .returning(Message.status, Message.status_at, Message.status_source)
    )


def transition_columns(word: str) -> dict[str, ColumnElement[Any]]:
    """Return the new values of the columns; each stays if the stored status ranks higher."""
    rises, at = _rises(word), bindparam("at", type_=UtcDateTime())
    final = at if word in status.FINAL else null()
    accepted = null() if word in status.NOT_ACCEPTED else at
    source = bindparam("source", type_=String())
    return {
        "status": case((rises, word), else_=Message.status),
        "status_at": case((rises, at), else_=Message.status_at),
        "status_source": case((rises, source), else_=Message.status_source),
        "error_code": case((or_(rises, _fills_in(word)), _CODE), else_=Message.error_code),
        "final_at": case((rises, final), else_=Message.final_at),
        "accepted_at": func.coalesce(Message.accepted_at, accepted),
        "has_conflict": or_(Message.has_conflict, _contradicts(word)),
        "next_lookup_at": case((rises, _lookup_at(word)), else_=Message.next_lookup_at),
    }


def _rises(word: str) -> ColumnElement[bool]:
    return _matches_any(status.lower_ranked(word))


def _fills_in(word: str) -> ColumnElement[bool]:
    is_missing = and_(Message.error_code.is_(None), _CODE.is_not(None))
    return and_(_matches_any(status.same_outcome(word)), is_missing)


def _lookup_at(word: str) -> ColumnElement[Any]:
    """Return the next look-up: planned anew by the first answer of Twilio, and resumed if it was
    given up; any other update keeps it.
    """
    if word in NEVER_ASKED_ABOUT:
        return null()
    first_lookup_at = bindparam("first_lookup_at", type_=UtcDateTime())
    return case(
        (_matches_any(status.OUTCOME_OPEN), first_lookup_at),
        else_=func.coalesce(Message.next_lookup_at, first_lookup_at),
    )


def _contradicts(word: str) -> ColumnElement[bool]:
    opposite = status.contradicting(word)
    if not opposite:
        return false()
    event_contradicts = exists().where(
        StatusEvent.message_id == bindparam("message_id"),
        _matches_any(opposite, StatusEvent.status),
    )
    return or_(_matches_any(opposite), event_contradicts)


def _matches_any(
    words: tuple[str, ...], column: InstrumentedAttribute[str] = Message.status
) -> ColumnElement[bool]:
    # Literals: SQLAlchemy would expand a list of parameters anew at each execution.
    return column.in_([literal_column(f"'{word}'") for word in words])
