"""What is shown of a batch before it is sent: its summary, its problems, and any of its texts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, select

from smstracker.batches.control import find_limit_problem
from smstracker.batches.encodings import OLD_ENCODINGS
from smstracker.batches.price import PriceForecast, forecast_price
from smstracker.batches.queueing import fill_row
from smstracker.batches.row_check import MAX_SHOWN
from smstracker.clock import MINUTE, format_exact_duration
from smstracker.extensions import db
from smstracker.models.batches import DUPLICATE, ROW_WARNINGS, Batch, BatchFile, BatchRow
from smstracker.models.sender_pace import sends_per_second
from smstracker.plurals import format_count
from smstracker.sms.gsm_replacements import CostAdvice, cost_advice
from smstracker.sms.segments import Segments, count_segments
from smstracker.sms.text_fields import TextTemplate

MAX_LETTERS = 80  # of a cell
_WARNING_WORDS = {
    "opted out": (
        "has opted out and will most likely not get it",
        "have opted out and will most likely not get it",
    ),
    "landline": ("had a landline when last written to", "had landlines when last written to"),
    "duplicate": ("repeats the number of an earlier row", "repeat the number of an earlier row"),
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
class WarningSummary:
    """What is said of the rows with one warning, and the numbers of the first ones."""

    sentence: str
    rows: Sequence[int]
    has_more: bool
    is_repeat: bool


@dataclass(frozen=True, slots=True)
class FileReading:
    """How the file was read. `encoding` is one that had to be guessed or that people chose,
    `letters` are the cells, by row, that show whether it is right.

    `may_change` tells whether the file is there to be read in another way.
    """

    encoding: str | None
    letters: Sequence[tuple[int, str]]
    has_told_heading: bool
    heading_row: int | None
    may_change: bool

    @property
    def encoding_name(self) -> str:
        return OLD_ENCODINGS.get(self.encoding or "", "")


@dataclass(frozen=True, slots=True)
class BatchPreview:
    """All that the page of a batch that is ready shows."""

    people: int
    duration: timedelta
    per_second: int
    warnings: Sequence[WarningSummary]
    notes: Sequence[str]
    costly: Sequence[str]
    price: PriceForecast | None
    limit_problem: str | None
    equal: Batch | None
    row: RowPreview | None
    advice: CostAdvice | None

    @property
    def duration_words(self) -> str:
        """About how long sending takes, to the minute."""
        minutes = round(self.duration / MINUTE)
        if minutes == 0:
            return "less than a minute"
        return f"about {format_exact_duration(minutes * MINUTE)}"


def read_preview(batch: Batch, number: int | None, now: datetime) -> BatchPreview:
    """Read what is shown of a batch, with the row of this number or else the first good one."""
    report = batch.report
    per_second = sends_per_second(batch.sender)
    people = report.get("people")
    return BatchPreview(
        people=people if isinstance(people, int) else batch.good_count,
        duration=timedelta(seconds=batch.good_count / per_second),
        per_second=per_second,
        warnings=_describe_warnings(_counts(report.get("warnings")), report.get("warning_rows")),
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


def read_problems(batch: Batch) -> Sequence[BatchRow]:
    """Read the first rows that cannot be sent."""
    query = BatchRow.select_next(batch.id, 0, MAX_SHOWN).where(BatchRow.problem.is_not(None))
    return db.session.scalars(query).all()


def describe_reading(batch: Batch) -> FileReading:
    report = batch.report
    encoding, heading_row = report.get("encoding"), report.get("heading_row")
    return FileReading(
        encoding=encoding if isinstance(encoding, str) else None,
        letters=_read_letters(batch, _items(report.get("letter_rows"))),
        has_told_heading="heading_row" in report,
        heading_row=heading_row if isinstance(heading_row, int) else None,
        may_change=BatchFile.exists(batch.id),
    )


def _read_letters(batch: Batch, numbers: Sequence[object]) -> list[tuple[int, str]]:
    """The cells with letters beyond ASCII, of the rows that first have each of them."""
    if not numbers:
        return []
    is_row = (BatchRow.batch_id == batch.id, BatchRow.number.in_(numbers))
    rows = db.session.scalars(select(BatchRow).where(*is_row).order_by(BatchRow.number))
    return [
        (row.number, ", ".join(cell[:MAX_LETTERS] for cell in row.cells if not cell.isascii()))
        for row in rows
    ]


def warning_sentence(name: str, count: int) -> str:
    """What is said of so many rows with the warning of this name."""
    return f"{format_count(count, 'row')} {_WARNING_WORDS[name][count > 1]}."


def _describe_warnings(counts: Mapping[str, int], rows: object) -> list[WarningSummary]:
    numbers = rows if isinstance(rows, dict) else {}
    return [
        WarningSummary(
            sentence=warning_sentence(name, count),
            rows=numbers.get(name, []),
            has_more=count > MAX_SHOWN,
            is_repeat=name == DUPLICATE.name,
        )
        for name, count in counts.items()
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
