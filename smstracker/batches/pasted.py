"""Lines pasted into the form instead of a file: a person each, or a table like that of a file.

Of lines, nothing is guessed later: they are stored as they are, and the first line is row 1.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from smstracker.batches.columns import Columns
from smstracker.batches.phone_column import ColumnError
from smstracker.batches.table import MAX_ROWS, Row
from smstracker.batches.table_file import limit_rows
from smstracker.sms.phone_numbers import parse_recipient
from smstracker.sms.phone_spelling import PhoneNumberError
from smstracker.sms.text_fields import TextTemplate

SAMPLE_LINES = 200
NAMES = ("phone", "name")
_BETWEEN = re.compile(r"[,;\t|]")
# All digits that only the separators of a number stand between, so that none is left out.
_DIGITS = re.compile(r"[+＋(（\[［]*\d(?:(?:[().\-/~\[\]（）［］‐-―−]|[^\S\t])*\d)*")
_AROUND_NAME = " \u00a0\t,;:|=–—-"


def find_lines(text: str, region: str) -> str | None:
    """Return pasted text as lines of one person each; None if it is a table.

    A line is a number, or a name and one number, as from a list of contacts: if more lines can be
    read in this way than as the cells of a table, or none has two cells and the first one is no
    heading. A single line of nothing but numbers becomes a line for each.
    """
    lines = text.splitlines()
    sample = [line for line in lines if line.strip()][:SAMPLE_LINES]
    rows = [_cells(line) for line in sample]
    if len(rows) == 1 and all(_is_number(cell, region) for cell in rows[0]):
        return "\n".join(rows[0])
    table_count = sum(any(_is_number(cell, region) for cell in cells) for cells in rows)
    contact_count = sum(_is_number(_read_contact(line)[0], region) for line in sample)
    is_column = all(len(cells) < 2 for cells in rows) and not any(map(str.isalpha, sample[0]))
    is_list = contact_count > table_count or (is_column and contact_count == table_count)
    return "\n".join(lines) if is_list else None


def read_lines(path: Path, template: TextTemplate) -> tuple[Columns, Iterator[Row]]:
    """Open a file of lines for a text with these fields. Raises ColumnError."""
    positions: Mapping[str, int] = {name: at for at, name in enumerate(NAMES)}
    missing = [f"(({name}))" for key, name in template.fields.items() if key not in positions]
    if missing:
        raise ColumnError(
            [
                f"The text has {', '.join(missing)}. Pasted lines hold only a number and a name, "
                "((name)). To fill in more, paste rows with headings, or upload a file."
            ]
        )
    fields = {key: positions[key] for key in template.fields}
    return Columns(NAMES, 0, fields, first_row=1), limit_rows(_read_rows(path), MAX_ROWS)


def _read_rows(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8", newline="\n") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                phone, name = _read_contact(line.strip())
                yield Row(number, [phone, name] if name else [phone])


def _cells(line: str) -> Sequence[str]:
    return [cell.strip() for cell in _BETWEEN.split(line) if cell.strip()]


def _read_contact(line: str) -> tuple[str, str]:
    """Return the number and the name of a line.

    Where not all digits belong to one number that stands for itself, what is returned for it is
    refused with the reason.
    """
    numbers = list(_DIGITS.finditer(line))
    if len(numbers) != 1:
        return ", ".join(number[0] for number in numbers), line
    before, after = line[: numbers[0].start()], line[numbers[0].end() :]
    if before[-1:].isalpha() or after[:1].isalpha():
        return line, ""
    # Brackets next to the number are around it.
    words = (before.rstrip(_AROUND_NAME + "(<["), after.lstrip(_AROUND_NAME + ")>]"))
    return numbers[0][0], " ".join(filter(None, (word.strip(_AROUND_NAME) for word in words)))


def _is_number(text: str, region: str) -> bool:
    try:
        parse_recipient(text, region)
    except PhoneNumberError:
        return False
    return True
