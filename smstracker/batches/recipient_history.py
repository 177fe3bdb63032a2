"""What an owner's earlier messages tell of recipients: opted out, or a landline."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.engine import Connection

from smstracker.database.engine import UtcDateTime
from smstracker.models.batches import LANDLINE, OPTED_OUT
from smstracker.models.messages import Message, reverse_digits
from smstracker.models.opt_outs import ACCEPTED, OPT_OUT_CODE, RememberedOptOut
from smstracker.models.tombstones import HashedKind, keyed_hash
from smstracker.sms import status
from smstracker.sms.messaging_service import is_messaging_service

LANDLINE_CODES = ("30006", "21614", "21635")
_CODES = (OPT_OUT_CODE, *LANDLINE_CODES)


def find_row_warnings(
    connection: Connection, owner_id: int, sender: str, numbers: Sequence[str]
) -> dict[str, int]:
    """Return the bits of warnings of those numbers that have any."""
    warnings: dict[str, int] = {}
    failed_at: dict[tuple[str, str], datetime] = {}
    is_to_them = (
        Message.owner_id == owner_id,
        Message.recipient_reversed.in_([reverse_digits(number) for number in numbers]),
    )
    columns = (
        *(Message.recipient, Message.error_code, Message.sender, Message.messaging_service_sid),
        func.max(Message.created_at, type_=UtcDateTime()).label("at"),
    )
    # Coalesced, so that no planner picks the index of error codes.
    has_code = func.coalesce(Message.error_code, "").in_(_CODES)
    failures = select(*columns).where(*is_to_them, has_code)
    for row in connection.execute(failures.group_by(*columns[:4])):
        if row.error_code in LANDLINE_CODES:
            failed_at[row.recipient, "landline"] = row.at
        elif (row.messaging_service_sid or row.sender) == sender:
            failed_at[row.recipient, "opt-out"] = row.at
    for number, at in _find_remembered(connection, owner_id, sender, numbers).items():
        failed_at.setdefault((number, "opt-out"), at)
    accepted = _find_accepted(connection, owner_id, sender, {number for number, _ in failed_at})
    for (number, kind), at in failed_at.items():
        by_sender, by_any = accepted.get(number, (None, None))
        later = by_sender if kind == "opt-out" else by_any
        if later is None or later < at:
            bit = OPTED_OUT.bit if kind == "opt-out" else LANDLINE.bit
            warnings[number] = warnings.get(number, 0) | bit
    return warnings


def _find_remembered(
    connection: Connection, owner_id: int, sender: str, numbers: Sequence[str]
) -> dict[str, datetime]:
    """The opt-outs that outlive their messages."""
    is_own = (RememberedOptOut.owner_id == owner_id, RememberedOptOut.sender == sender)
    if connection.scalar(select(RememberedOptOut.owner_id).where(*is_own).limit(1)) is None:
        return {}
    hashes = {keyed_hash(connection, HashedKind.NUMBER, number): number for number in numbers}
    columns = (RememberedOptOut.number_hash, RememberedOptOut.opted_out_at)
    query = select(*columns).where(*is_own, RememberedOptOut.number_hash.in_(hashes))
    return {hashes[row.number_hash]: row.opted_out_at for row in connection.execute(query)}


def _find_accepted(
    connection: Connection, owner_id: int, sender: str, numbers: set[str]
) -> dict[str, tuple[datetime | None, datetime | None]]:
    """When the last message to each number was taken by Twilio from this sender, and arrived from
    any: after a START, or for a number that was moved.
    """
    if not numbers:
        return {}
    is_service = is_messaging_service(sender)
    is_sender = (Message.messaging_service_sid if is_service else Message.sender) == sender
    is_taken = Message.status.in_(ACCEPTED) & is_sender
    has_arrived = Message.status.in_(status.POSITIVE)
    moment = UtcDateTime()
    query = select(
        Message.recipient,
        func.max(Message.created_at, type_=moment).filter(is_taken).label("taken"),
        func.max(Message.created_at, type_=moment).filter(has_arrived).label("arrived"),
    ).where(
        Message.owner_id == owner_id,
        Message.recipient_reversed.in_([reverse_digits(number) for number in numbers]),
    )
    rows = connection.execute(query.group_by(Message.recipient))
    return {row.recipient: (row.taken, row.arrived) for row in rows}
