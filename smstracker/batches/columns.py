"""Which column holds the numbers, and which ones the fields of the text."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import chain, islice

from smstracker.batches.country_columns import find_country_columns
from smstracker.batches.headings import is_phone
from smstracker.batches.phone_column import (
    ColumnError,
    find_others,
    find_phone_column,
    looks_like_number,
    quote_names,
)
from smstracker.batches.table import Row, Table, TableError
from smstracker.sms.text_fields import TextTemplate, field_key

SAMPLE_ROWS = 200
MAX_ROWS_ABOVE = 10  # a title and the like, above the headings


@dataclass(frozen=True, slots=True)
class Columns:
    """The names of all columns, the position of the numbers and of each field, by its key.

    `first_row` is the number of the first row that is sent to, `heading_row` that of the headings.
    `countries` are the positions of what tells the country of a number, `other_phones` the names of
    other columns that may hold the numbers.
    """

    names: Sequence[str]
    phone: int
    fields: Mapping[str, int]
    first_row: int
    heading_row: int | None = None
    countries: Sequence[int] = ()
    other_phones: Sequence[str] = ()


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
    headings = names if heading is not None else [""] * len(names)
    fields, problems = _match_fields(names, template, has_heading=heading is not None)
    countries = find_country_columns(headings, data, region)
    choices: list[str] = []
    phone = 0
    try:
        phone = find_phone_column(names, headings, data, region, countries, phone_name)
    except ColumnError as error:
        problems, choices = [*error.problems, *problems], [*error.choices]
    if problems:
        raise ColumnError(problems, choices)
    if heading:
        table.notes.append(
            f"The headings are in row {sample[heading].number}. What is above them is left out."
        )
    heading_row = None if heading is None else sample[heading].number
    others = find_others(names, data, phone)
    countries = [position for position in countries if position != phone]
    columns = Columns(names, phone, fields, data[0].number, heading_row, countries, others)
    return columns, chain(data, table.rows)


def _find_heading(sample: Sequence[Row], region: str) -> int | None:
    """Return where the row of headings is; None if the first row is sent to already.

    A title above the headings has fewer cells, or a single one. No row with a number is ever left
    out.
    """
    top = sample[:MAX_ROWS_ABOVE]
    widest = max(sum(map(bool, row.cells)) for row in top)
    for position, row in enumerate(top):
        if any(looks_like_number(cell, region) for cell in row.cells):
            return None if position == 0 else position - 1
        count = sum(map(bool, row.cells))
        is_title = count == 1 < widest and not any(map(is_phone, row.cells))
        if count * 2 >= widest and not is_title:
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


def _match_fields(
    names: Sequence[str], template: TextTemplate, *, has_heading: bool
) -> tuple[dict[str, int], list[str]]:
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
        if not has_heading:
            problems.append(
                "The first row was taken for a person, so no row names the columns. Add one above, "
                f"or write (({names[0]})) in the text."
            )
    return {key: positions[key][0] for key in template.fields if key in positions}, problems
