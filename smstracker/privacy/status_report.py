"""The figures of the privacy page: what was deleted, what waits, and what failed at Twilio."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import func, select

from smstracker.clock import utcnow
from smstracker.extensions import db, settings
from smstracker.models import CarrierRemoval, Erasure, PendingRemoval, RemovalCounter
from smstracker.models.keep_settings import ComingSetting, find_coming
from smstracker.models.removals import CounterName, RemovalKind
from smstracker.privacy.carrier_progress import CarrierProgress, read_carrier_progress
from smstracker.privacy.erasure import read_receipts
from smstracker.privacy.retention import count_due, describe_conflicts


@dataclass(frozen=True, slots=True)
class PrivacyReport:
    """`coming` has the settings that are not in force yet, each with how many messages it is about;
    `conflicts` are sentences on settings that are not the same in all processes.

    `unfinished_at_twilio` are the receipts that wait for Twilio, or failed there.
    """

    keep_text_days: int | None
    keep_message_days: int | None
    redact_at_twilio: bool
    coming: Sequence[tuple[ComingSetting, int]]
    conflicts: Sequence[str]
    blanked: int
    deleted: int
    open_messages: int
    done_at_twilio: int
    at_twilio: CarrierProgress
    failing_at_twilio: CarrierProgress
    receipts: Sequence[tuple[Erasure, int]]
    unfinished_at_twilio: Collection[str | None]


def build_privacy_report() -> PrivacyReport:
    connection, now = db.session.connection(), utcnow()

    def count(name: CounterName) -> int:
        return RemovalCounter.read(connection, name)

    is_due = PendingRemoval.kind.in_([RemovalKind.BLANK, RemovalKind.DELETE])
    due_ids = select(PendingRemoval.row_id).where(is_due).distinct().subquery()
    config = settings()
    return PrivacyReport(
        keep_text_days=config.keep_text_days,
        keep_message_days=config.keep_message_days,
        redact_at_twilio=config.redact_at_twilio,
        coming=[(row, count_due(connection, row, now)) for row in find_coming(connection, now)],
        conflicts=describe_conflicts(connection, now),
        blanked=count(CounterName.BLANKED),
        deleted=count(CounterName.DELETED),
        open_messages=db.session.scalar(select(func.count()).select_from(due_ids)) or 0,
        done_at_twilio=count(CounterName.REDACTED_AT_TWILIO) + count(CounterName.DELETED_AT_TWILIO),
        at_twilio=read_carrier_progress(connection),
        failing_at_twilio=read_carrier_progress(connection, CarrierRemoval.keeps_failing()),
        receipts=read_receipts(),
        unfinished_at_twilio=set(db.session.scalars(select(CarrierRemoval.receipt).distinct())),
    )
