"""Which column holds the numbers, and which ones the fields of the text."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import chain, islice

from smstracker.batches.table import Row, Table, TableError
from smstracker.sms.phone_numbers import parse_recipient
from smstracker.sms.phone_spelling import PhoneNumberError
from smstracker.sms.text_fields import TextTemplate, field_key

SAMPLE_ROWS = 200
MAX_ROWS_ABOVE = 10  # a title and the like, above the headings
MIN_DIGITS = 7  # of what is taken for a number when nothing says that it is one
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}.*|[0-9]{1,2}([./-])[0-9]{1,2}\1[0-9]{2,4}")
MAX_NAMED = 8
# Words of headings, in the languages of people who send from spreadsheets; matched as a part.
_PHONE_WORDS = re.compile(
    r"phone|mobile|cell|msisdn|whatsapp|^(sms|to|tel|number|no|recipient|contactnumber|fon)$|^tel"
    r"|telefon|handy|mobil|rufnummer|telefoon|gsm|t[eé]l[eé]fono|celular|m[oó]vil|telem[oó]vel"
    r"|portable|cellulare|komórk|komork|телефон|мобил|电话|手机|電話|携帯|전화|휴대"
)


class ColumnError(TableError):
    """The columns do not fit; `choices` are those that may hold the numbers, if that is asked."""

    def __init__(self, problems: Sequence[str], choices: Sequence[str] = ()) -> None:
        super().__init__("\n".join(problems))
        self.problems, self.choices = problems, choices


@dataclass(frozen=True, slots=True)
class Columns:
    """The names of all columns, the position of the numbers and of each field, by its key.

    `first_row` is the number of the first row that is sent to, `heading_row` that of the headings.
    """

    names: Sequence[str]
    phone: int
    fields: Mapping[str, int]
    first_row: int
    heading_row: int | None = None


def match_columns(
    table: Table,
    template: TextTemplate,
    region: str,
    phone_name: str | None = None,
    *,
    has_heading: bool | None = None,
) -> tuple[Columns, Iterator[Row]]:
    """Return the columns of a table and its rows without the headings.

    `has_heading` is what people said of it; None to find out.
    Raises TableError, ColumnError with everything that is wrong with the columns.
    """
    sample = list(islice(table.rows, SAMPLE_ROWS))
    if not sample:
        raise TableError("The file is empty.")
    heading = None if has_heading is False else _find_heading(sample, region)
    if has_heading and heading is None:
        heading = 0
    data = sample if heading is None else sample[heading + 1 :]
    if not data:
        raise TableError("The file has headings but no rows below them.")
    names = _name_columns(data, None if heading is None else sample[heading])
    fields, problems = _match_fields(names, template)
    if heading is None and any("No column" in problem for problem in problems):
        problems.append(
            f"The first row was taken for a person, so no row names the columns. Add one above, "
            f"or write (({names[0]})) in the text."
        )
    choices: list[str] = []
    phone = 0
    try:
        phone = _find_phone(names, data, region, phone_name, has_heading=heading is not None)
    except ColumnError as error:
        problems, choices = [*error.problems, *problems], [*error.choices]
    if problems:
        raise ColumnError(problems, choices)
    if heading:
        table.notes.append(
            f"The headings are in row {sample[heading].number}. What is above them is left out."
        )
    heading_row = None if heading is None else sample[heading].number
    return Columns(names, phone, fields, data[0].number, heading_row), chain(data, table.rows)


def _looks_like_number(text: str, region: str) -> bool:
    """Whether a cell holds a number, by itself: also one that is refused for its spelling."""
    digits = re.sub(r"\D", "", text)
    if len(digits) < MIN_DIGITS or _DATE.fullmatch(text) or re.search(r"[^\W\d_]{3}", text):
        return False
    if re.fullmatch(r"\+?[0-9 ()./-]{7,25}", text):
        return True
    try:
        parse_recipient(text, region)
    except PhoneNumberError:
        return False
    return True


def _find_heading(sample: Sequence[Row], region: str) -> int | None:
    """Return where the row of headings is; None if the first row is sent to already.

    A title above the headings has fewer cells. No row with a number is ever left out.
    """
    top = sample[:MAX_ROWS_ABOVE]
    widest = max(sum(map(bool, row.cells)) for row in top)
    for position, row in enumerate(top):
        if any(_looks_like_number(cell, region) for cell in row.cells):
            return None if position == 0 else position - 1
        if sum(map(bool, row.cells)) * 2 >= widest:
            return position
    return 0


def _name_columns(data: Sequence[Row], heading: Row | None) -> list[str]:
    cells = heading.cells if heading else ()
    # A row that is longer than its headings may lack quotes; a column lacks only its heading.
    widths = sorted(len(row.cells) for row in data)
    width = widths[len(widths) // 2] if heading else widths[-1]
    named = [" ".join(cell.split()) for cell in cells] + [""] * (width - len(cells))
    return [name or f"Column {column_letters(position)}" for position, name in enumerate(named)]


def column_letters(position: int) -> str:
    """Return what a spreadsheet calls a column: A to Z, AA."""
    letters = ""
    while position >= 0:
        position, letter = divmod(position, 26)
        letters, position = chr(ord("A") + letter) + letters, position - 1
    return letters


def _match_fields(names: Sequence[str], template: TextTemplate) -> tuple[dict[str, int], list[str]]:
    positions: dict[str, list[int]] = {}
    for position, name in enumerate(names):
        positions.setdefault(field_key(name), []).append(position)
    problems = [problem] if (problem := template.find_problem()) else []
    for key, name in template.fields.items():
        if len(positions.get(key, ())) > 1:
            problems.append(f"Two columns are called “{name}”. Rename one of them.")
        elif key and key not in positions:
            near = get_close_matches(key, positions, 1, cutoff=0.7)
            advice = f" Did you mean (({names[positions[near[0]][0]]}))?" if near else ""
            problems.append(f"No column is called “{name}”, which the text has.{advice}")
    if any("No column" in problem for problem in problems):
        problems.append(f"The columns are: {quote_names(names)}.")
    return {key: positions[key][0] for key in template.fields if key in positions}, problems


def quote_names(names: Sequence[str]) -> str:
    """Return names in quotes for a sentence, a few of them if they are many."""
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(f"“{name[:40]}”" for name in names[:MAX_NAMED]) + more


def _find_phone(
    names: Sequence[str],
    data: Sequence[Row],
    region: str,
    phone_name: str | None,
    *,
    has_heading: bool,
) -> int:
    """Return the one column that can hold the numbers; if there are two, people choose."""
    if phone_name is not None:
        if phone_name not in names:
            raise ColumnError([f"No column is called “{phone_name[:40]}”. Choose one."], names)
        return names.index(phone_name)
    filled = [p for p in range(len(names)) if any(_cell(row, p) for row in data)]
    called_phone = [p for p in filled if has_heading and _PHONE_WORDS.search(_word(names[p]))]
    with_numbers = [p for p in filled if _holds_numbers(data, p, region)]
    candidates = called_phone or with_numbers
    # A column that is called so may hold "yes" and "no": "WhatsApp", "No mobile".
    candidates = [p for p in candidates if p in with_numbers] or candidates
    if len(candidates) == 1:
        return candidates[0]
    choices = [names[position] for position in candidates or filled]
    if candidates:
        raise ColumnError(
            [
                f"Several columns may hold the numbers to send to: "
                f"{quote_names(choices)}. Choose one."
            ],
            choices,
        )
    raise ColumnError(["No column with phone numbers was found. Choose it."], choices)


def _word(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.lower())


def _cell(row: Row, position: int) -> str:
    return row.cells[position] if position < len(row.cells) else ""


def _holds_numbers(data: Sequence[Row], position: int, region: str) -> bool:
    """Whether half of the filled cells of a column look like numbers."""
    cells = [cell for row in data if (cell := _cell(row, position))]
    return sum(_looks_like_number(cell, region) for cell in cells) * 2 >= len(cells)
