"""The figures of the privacy page: what was deleted, what waits, and what failed at Twilio."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select

from smstracker.extensions import db, settings
from smstracker.models import CarrierRemoval, Erasure, PendingRemoval, RemovalCounter
from smstracker.models.removals import CounterName, RemovalKind
from smstracker.privacy.erasure import read_receipts


@dataclass(frozen=True, slots=True)
class PrivacyReport:
    """`problems` are pairs of a reason and how many messages have it; the commonest first."""

    keep_text_days: int | None
    keep_message_days: int | None
    redact_at_twilio: bool
    blanked: int
    deleted: int
    open_messages: int
    done_at_twilio: int
    waiting_at_twilio: int
    failed_at_twilio: int
    problems: Sequence[tuple[str, int]]
    receipts: Sequence[tuple[Erasure, int]]


def build_privacy_report() -> PrivacyReport:
    connection = db.session.connection()

    def count(name: CounterName) -> int:
        return RemovalCounter.read(connection, name)

    is_due = PendingRemoval.kind.in_([RemovalKind.BLANK, RemovalKind.DELETE])
    due_ids = select(PendingRemoval.row_id).where(is_due).distinct().subquery()
    rows = select(func.count()).select_from(CarrierRemoval)
    has_failed = CarrierRemoval.next_try_at.is_(None)
    reasons = select(CarrierRemoval.problem, func.count()).where(
        CarrierRemoval.problem.is_not(None)
    )
    reasons = reasons.group_by(CarrierRemoval.problem).order_by(func.count().desc())
    config = settings()
    return PrivacyReport(
        keep_text_days=config.keep_text_days,
        keep_message_days=config.keep_message_days,
        redact_at_twilio=config.redact_at_twilio,
        blanked=count(CounterName.BLANKED),
        deleted=count(CounterName.DELETED),
        open_messages=db.session.scalar(select(func.count()).select_from(due_ids)) or 0,
        done_at_twilio=count(CounterName.REDACTED_AT_TWILIO) + count(CounterName.DELETED_AT_TWILIO),
        waiting_at_twilio=db.session.scalar(rows.where(~has_failed)) or 0,
        failed_at_twilio=db.session.scalar(rows.where(has_failed)) or 0,
        problems=[(reason, number) for reason, number in db.session.execute(reasons)],
        receipts=read_receipts(),
    )
