"""The check of each row by the rules of the send form, and what all rows come to."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from smstracker.batches.columns import Columns
from smstracker.batches.table import Row
from smstracker.sms.phone_numbers import parse_recipient
from smstracker.sms.phone_spelling import PhoneNumberError
from smstracker.sms.segments import count_segments
from smstracker.sms.text_fields import TextTemplate, find_unfilled_field
from smstracker.sms.text_rules import find_text_problem, unix_lines

MAX_SHOWN = 10
MERGED = "The cell is merged with one above. Undo that, so that each row has its own."
_FORMULA = "There is a formula in the cell. Put its result there."


@dataclass(frozen=True, slots=True)
class CheckedRow:
    """One row with what would be sent, or why nothing can be.

    `number` is the row of the file; `costly` are the characters that make the text longer.
    """

    row: Row
    recipient: str | None
    text: str | None
    problem: str | None
    segments: int = 0
    costly: tuple[str, ...] = ()


class RowChecker:
    """Checks the rows of one file, each by itself."""

    def __init__(
        self, columns: Columns, template: TextTemplate, sender: str | None, region: str
    ) -> None:
        self._columns, self._template = columns, template
        self._sender, self._region = sender, region
        self._counted: tuple[str, int, tuple[str, ...]] = ("", 0, ())

    def check(self, row: Row) -> CheckedRow:
        recipient, problems = self._read_recipient(row)
        values = {key: unix_lines(_cell(row, p)) for key, p in self._columns.fields.items()}
        problems += self._find_value_problems(row, values)
        if len(row.cells) > len(self._columns.names):
            problems.append("It has more cells than there are columns. Quotes may be missing.")
        text = self._template.fill(values)
        if not problems:
            problems += filter(None, [_find_filled_problem(text)])
        if problems:
            return CheckedRow(row, recipient, None, " ".join(problems))
        if self._counted[0] != text:  # without fields, all texts are alike
            segments = count_segments(text, self._sender)
            self._counted = (text, segments.count, segments.costly)
        return CheckedRow(row, recipient, text, None, *self._counted[1:])

    def _read_recipient(self, row: Row) -> tuple[str | None, list[str]]:
        typed = _cell(row, self._columns.phone)
        name = self._columns.names[self._columns.phone]
        if not typed:
            reason = MERGED if self._columns.phone in row.merged else "There is no number."
            return None, [f"{name}: {reason}"]
        if typed.startswith("="):
            return None, [f"{name}: {_FORMULA}"]
        try:
            return parse_recipient(typed, self._region), []
        except PhoneNumberError as error:
            return None, [f"{name}: {error}"]

    def _find_value_problems(self, row: Row, values: dict[str, str]) -> list[str]:
        problems = []
        for key, position in self._columns.fields.items():
            reason = None
            if not values[key]:
                reason = MERGED if position in row.merged else "The cell is empty."
            elif values[key].startswith("="):
                reason = _FORMULA
            if reason:
                problems.append(f"{self._columns.names[position]}: {reason}")
        return problems


def _cell(row: Row, position: int) -> str:
    return row.cells[position] if position < len(row.cells) else ""


def _find_filled_problem(text: str) -> str | None:
    if unfilled := find_unfilled_field(text):
        return f"The text would still hold “{unfilled}”. Take the brackets out of the cell."
    return find_text_problem(text)


@dataclass(slots=True)
class FileReport:
    """What the rows of a file come to. Numbers are kept as integers: 100,000 take 10 MB."""

    rows: int = 0
    good: int = 0
    bad: int = 0
    segments: int = 0
    costly_rows: int = 0
    shown_problems: list[CheckedRow] = field(default_factory=list)
    costly: Counter[str] = field(default_factory=Counter)
    countries: Counter[str] = field(default_factory=Counter)
    duplicates: int = 0
    first_duplicates: list[CheckedRow] = field(default_factory=list)
    _seen: set[int] = field(default_factory=set)

    def add(self, checked: CheckedRow) -> None:
        self.rows += 1
        if checked.problem is not None or checked.recipient is None:
            self.bad += 1
            if len(self.shown_problems) < MAX_SHOWN:
                self.shown_problems.append(checked)
            return
        self.good += 1
        self.segments += checked.segments
        self.costly_rows += bool(checked.costly)
        self.costly.update(checked.costly)
        self._add_number(checked, int(checked.recipient[1:]))

    def _add_number(self, checked: CheckedRow, digits: int) -> None:
        if digits in self._seen:
            self.duplicates += 1
            if len(self.first_duplicates) < MAX_SHOWN:
                self.first_duplicates.append(checked)
        self._seen.add(digits)


def check_rows(
    rows: Iterable[Row], checker: RowChecker, report: FileReport
) -> Iterator[CheckedRow]:
    """Check rows one after the other, and count them in the report."""
    for row in rows:
        checked = checker.check(row)
        report.add(checked)
        yield checked
