"""The check of each row by the rules of the send form, and what all rows come to."""

from collections import Counter
from dataclasses import dataclass, field, replace

from smstracker.batches.columns import Columns
from smstracker.batches.country_columns import complete_number, read_country
from smstracker.batches.price import country_code
from smstracker.batches.table import Row
from smstracker.models.batches import COSTLY, DUPLICATE, ROW_WARNINGS
from smstracker.sms.phone_numbers import parse_recipient
from smstracker.sms.phone_spelling import PhoneNumberError
from smstracker.sms.segments import count_segments
from smstracker.sms.text_fields import TextTemplate, find_unfilled_field
from smstracker.sms.text_rules import find_text_problem, unix_lines
from smstracker.sms.typed_text import is_blank

MAX_SHOWN = 10
MERGED = "The cell is merged with one above. Undo that, so that each row has its own."
UNCOMPUTED = (
    "The result of the formula is not in the file. Open the file in a spreadsheet, save it there "
    "and upload it again."
)
_FORMULA = "There is a formula in the cell. Put its result there."


@dataclass(frozen=True, slots=True)
class CheckedRow:
    """One row with what would be sent, or why nothing can be.

    `number` is the row of the file; `costly` are the characters that make the text longer,
    `is_completed` tells that the country code is that of another column.
    """

    row: Row
    recipient: str | None
    text: str | None
    problem: str | None
    segments: int = 0
    costly: tuple[str, ...] = ()
    is_completed: bool = False


class RowChecker:
    """Checks the rows of one file, each by itself.

    With `has_formulas`, a cell that begins with = is a formula, else a text like any other.
    """

    def __init__(
        self,
        columns: Columns,
        template: TextTemplate,
        sender: str | None,
        region: str,
        *,
        has_formulas: bool = True,
    ) -> None:
        self._columns, self._template = columns, template
        self._sender, self._region = sender, region
        self._has_formulas = has_formulas
        self._counted: tuple[str, int, tuple[str, ...]] = ("", 0, ())

    def check(self, row: Row) -> CheckedRow:
        recipient, is_completed, problems = self._read_recipient(row)
        values = {key: unix_lines(row.cell(p)) for key, p in self._columns.fields.items()}
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
        return CheckedRow(row, recipient, text, None, *self._counted[1:], is_completed)

    def _read_recipient(self, row: Row) -> tuple[str | None, bool, list[str]]:
        """Return the number, whether its country code is that of another column, and problems."""
        if row.recipient:
            return row.recipient, False, []
        typed = row.cell(self._columns.phone)
        name = self._columns.names[self._columns.phone]
        problem = None
        if not typed.strip():
            problem = _empty_reason(row, self._columns.phone, "There is no number.")
        elif self._is_formula(typed):
            problem = _FORMULA
        else:
            try:
                return *self._complete(row, typed), []
            except PhoneNumberError as error:
                problem = str(error)
        return None, False, [f"{name}: {problem}"]

    def _complete(self, row: Row, typed: str) -> tuple[str, bool]:
        places = [position for position in self._columns.countries if row.cell(position)]
        if not places:
            return parse_recipient(typed, self._region), False
        cells = [read_country(self._columns.names[p], row.cell(p)) for p in places]
        return complete_number(typed, cells, self._region)

    def _find_value_problems(self, row: Row, values: dict[str, str]) -> list[str]:
        problems = []
        for key, position in self._columns.fields.items():
            reason = None
            if is_blank(values[key]):
                reason = _empty_reason(row, position, "There is no value.")
            elif self._is_formula(values[key]):
                reason = _FORMULA
            if reason:
                problems.append(f"{self._columns.names[position]}: {reason}")
        return problems

    def _is_formula(self, cell: str) -> bool:
        return self._has_formulas and cell.startswith("=")


def _empty_reason(row: Row, position: int, otherwise: str) -> str:
    """Why a cell is empty."""
    if position in row.uncomputed:
        return UNCOMPUTED
    return MERGED if position in row.merged else otherwise


def _find_filled_problem(text: str) -> str | None:
    if unfilled := find_unfilled_field(text):
        return f"The text would still hold “{unfilled}”. Take the brackets out."
    return find_text_problem(text)


@dataclass(slots=True)
class FileReport:
    """What the rows of a file come to.

    Numbers are kept as integers to find duplicates: 100,000 of them take 15 MB. The first rows of
    each warning are named, and the first ones that bring a letter beyond ASCII.
    """

    rows: int = 0
    good: int = 0
    numbers: int = 0  # rows with a number, good or not
    completed: int = 0  # good rows whose country code is that of another column
    segments: int = 0
    segments_by_country: Counter[str] = field(default_factory=Counter)
    people_by_country: Counter[str] = field(default_factory=Counter)
    costly: Counter[str] = field(default_factory=Counter)  # rows that have the character
    warnings: Counter[str] = field(default_factory=Counter)
    warning_rows: dict[str, list[int]] = field(default_factory=dict)
    letter_rows: list[int] = field(default_factory=list)
    _seen: dict[int, int] = field(default_factory=dict)  # the first row of each number
    _letters: set[str] = field(default_factory=set)

    def leave_out_repeat(self, checked: CheckedRow) -> CheckedRow:
        """Return the row with a problem if an earlier one has its number."""
        if checked.problem is not None or checked.recipient is None:
            return checked
        first = self._seen.get(int(checked.recipient[1:]))
        return replace(checked, problem=f"Row {first} has the same number.") if first else checked

    def add(self, checked: CheckedRow) -> int:
        """Count a row; return the bits of its warnings."""
        self.rows += 1
        self._note_letters(checked.row)
        self.numbers += checked.recipient is not None
        if checked.problem is not None or checked.recipient is None:
            return 0
        self.good += 1
        self.completed += checked.is_completed
        self.segments += checked.segments
        country = country_code(checked.recipient)
        self.segments_by_country[country] += checked.segments
        self.people_by_country[country] += 1
        self.costly.update(checked.costly)
        digits = int(checked.recipient[1:])
        bits = (DUPLICATE.bit if digits in self._seen else 0) | (
            COSTLY.bit if checked.costly else 0
        )
        self._seen.setdefault(digits, checked.row.number)
        return bits

    def _note_letters(self, row: Row) -> None:
        letters = {letter for cell in row.cells if not cell.isascii() for letter in cell}
        letters = {letter for letter in letters if not letter.isascii()} - self._letters
        if letters and len(self.letter_rows) < MAX_SHOWN:
            self._letters |= letters
            self.letter_rows.append(row.number)

    def count_warnings(self, bits: int, number: int) -> None:
        for warning in ROW_WARNINGS:
            if bits & warning.bit:
                self.warnings[warning.name] += 1
                numbers = self.warning_rows.setdefault(warning.name, [])
                if len(numbers) < MAX_SHOWN:
                    numbers.append(number)

    def to_json(self) -> dict[str, object]:
        """Return the counts, for the column `report` of the batch."""
        return {
            "people": len(self._seen),
            "warnings": dict(self.warnings),
            "warning_rows": self.warning_rows,
            "costly": dict(self.costly.most_common(MAX_SHOWN)),
            "segments_by_country": dict(self.segments_by_country),
            "people_by_country": dict(self.people_by_country),
        }
