"""What is shown of a batch before it is sent: its summary, its problems, and any of its texts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, select

from smstracker.batches.control import find_limit_problem
from smstracker.batches.price import PriceForecast, forecast_price
from smstracker.batches.queueing import fill_row
from smstracker.extensions import db
from smstracker.models.batches import ROW_WARNINGS, Batch, BatchRow
from smstracker.sms.gsm_replacements import CostAdvice, cost_advice
from smstracker.sms.segments import Segments, count_segments
from smstracker.sms.text_fields import TextTemplate

MAX_SHOWN = 10
_WARNING_WORDS = {
    "opted out": (
        "has opted out and will most likely not get it",
        "have opted out and will most likely not get it",
    ),
    "landline": ("had a landline when last written to", "had landlines when last written to"),
    "duplicate": (
        "repeats a number of an earlier row: it gets one message for each",
        "repeat a number of an earlier row: each gets one message for every row",
    ),
    "costs more": ("costs more because of a character", "cost more because of a character"),
}


@dataclass(frozen=True, slots=True)
class RowPreview:
    """The message of one row; `previous` and `following` are the numbers of its neighbours."""

    row: BatchRow
    text: str
    segments: Segments
    warnings: Sequence[str]
    previous: int | None
    following: int | None


@dataclass(frozen=True, slots=True)
class BatchPreview:
    """All that the page of a batch that is ready shows."""

    problems: Sequence[BatchRow]
    warnings: Sequence[str]
    notes: Sequence[str]
    costly: Sequence[str]
    price: PriceForecast | None
    limit_problem: str | None
    equal: Batch | None
    row: RowPreview | None
    advice: CostAdvice | None


def read_preview(batch: Batch, number: int | None, now: datetime) -> BatchPreview:
    """Read what is shown of a batch, with the row of this number or else the first good one."""
    report = batch.report
    bad_rows = BatchRow.select_next(batch.id, 0, MAX_SHOWN).where(BatchRow.problem.is_not(None))
    return BatchPreview(
        problems=db.session.scalars(bad_rows).all(),
        warnings=_describe_warnings(_counts(report.get("warnings"))),
        notes=[str(note) for note in _items(report.get("notes"))],
        costly=list(_counts(report.get("costly"))),
        price=forecast_price(
            db.session.connection(), batch.owner_id, _counts(report.get("segments_by_country"))
        ),
        limit_problem=find_limit_problem(batch, now),
        equal=batch.find_equal(),
        row=_read_row(batch, number),
        advice=cost_advice(batch.text, batch.sender),
    )


def _counts(value: object) -> Mapping[str, int]:
    return value if isinstance(value, dict) else {}


def _items(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else []


def _describe_warnings(counts: Mapping[str, int]) -> list[str]:
    words = ((count, _WARNING_WORDS[name]) for name, count in counts.items())
    return [
        f"{count:,} {'row' if count == 1 else 'rows'} {forms[count > 1]}." for count, forms in words
    ]


def _read_row(batch: Batch, number: int | None) -> RowPreview | None:
    is_good = (BatchRow.batch_id == batch.id, BatchRow.problem.is_(None))
    first = select(BatchRow).where(*is_good, BatchRow.number >= (number or 0))
    row = db.session.scalar(first.order_by(BatchRow.number).limit(1))
    if row is None:
        return None
    text = fill_row(TextTemplate(batch.text), batch.field_positions, row.cells)
    return RowPreview(
        row=row,
        text=text,
        segments=count_segments(text, batch.sender),
        warnings=[warning.name for warning in ROW_WARNINGS if row.warnings & warning.bit],
        previous=_find_neighbour(is_good, BatchRow.number < row.number, BatchRow.number.desc()),
        following=_find_neighbour(is_good, BatchRow.number > row.number, BatchRow.number.asc()),
    )


def _find_neighbour(
    is_good: tuple[ColumnElement[bool], ...],
    is_beyond: ColumnElement[bool],
    order: ColumnElement[int],
) -> int | None:
    return db.session.scalar(
        select(BatchRow.number).where(*is_good, is_beyond).order_by(order).limit(1)
    )
