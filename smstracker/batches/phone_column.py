"""Which column holds the numbers: by its heading and by its look, or people choose."""

import re
from collections.abc import Container, Sequence

from smstracker.batches.headings import is_fax, is_number, is_phone
from smstracker.batches.table import Row, TableError
from smstracker.sms.phone_numbers import parse_recipient
from smstracker.sms.phone_spelling import PhoneNumberError

MIN_DIGITS = 7  # of what is taken for a number when nothing says that it is one
MAX_NAMED = 8
_PLAIN_NUMBER = re.compile(r"\+?[0-9 ()./-]{7,25}")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}.*|[0-9]{1,2}([./-])[0-9]{1,2}\1[0-9]{2,4}")


class ColumnError(TableError):
    """The columns do not fit; `choices` are those that may hold the numbers, if that is asked."""

    def __init__(self, problems: Sequence[str], choices: Sequence[str] = ()) -> None:
        super().__init__("\n".join(problems))
        self.problems, self.choices = problems, choices


def find_phone_column(
    names: Sequence[str],
    headings: Sequence[str],
    data: Sequence[Row],
    region: str,
    countries: Container[int],
    phone_name: str | None,
) -> int:
    """Return the position of the numbers; `headings` are empty where no row names the columns.

    A column that is called so and holds numbers is it, else the only one that holds numbers. None
    with country codes is. Raises ColumnError where people have to choose.
    """
    if phone_name is not None:
        if phone_name not in names:
            raise ColumnError([f"No column is called “{phone_name[:40]}”. Choose one."], names)
        return names.index(phone_name)
    filled = [p for p in range(len(names)) if filled_cells(data, p) and p not in countries]
    called = [p for p in filled if is_phone(headings[p])]
    with_numbers = [p for p in filled if holds_numbers(data, p, region)]
    candidates = [p for p in called if p in with_numbers]
    if not candidates and with_numbers:
        # "WhatsApp" may hold "yes", but digits may be numbers that look unlike any.
        unlike = [p for p in called if any(map(_digits, filled_cells(data, p)))]
        candidates = sorted({*with_numbers, *unlike})
    if not candidates:
        candidates = called or [p for p in filled if is_number(headings[p])]
    return _choose(names, headings, candidates, filled)


def _choose(
    names: Sequence[str], headings: Sequence[str], candidates: Sequence[int], filled: Sequence[int]
) -> int:
    """Return the only candidate. Raises ColumnError."""
    choices = [names[position] for position in candidates or filled]
    if not candidates:
        raise ColumnError(["No column with phone numbers was found. Choose it."], choices)
    if len(candidates) > 1:
        quoted = quote_names(choices)
        raise ColumnError(
            [f"Several columns may hold the numbers to send to: {quoted}. Choose one."], choices
        )
    if is_fax(headings[candidates[0]]):
        raise ColumnError(
            [
                f"Only the column “{choices[0][:40]}” holds numbers, by its name those of faxes or "
                "pagers. Choose it if they take text messages."
            ],
            choices,
        )
    return candidates[0]


def quote_names(names: Sequence[str]) -> str:
    """Return names in quotes for a sentence, a few of them if they are many."""
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(f"“{name[:40]}”" for name in names[:MAX_NAMED]) + more


def looks_like_number(text: str, region: str) -> bool:
    """Whether a cell holds a number, by itself: also one that is refused for its spelling."""
    if not _may_be_number(text) or re.search(r"[^\W\d_]{3}", text):
        return False
    if _PLAIN_NUMBER.fullmatch(text):
        return True
    try:
        parse_recipient(text, region)
    except PhoneNumberError:
        return False
    return True


def is_plain_number(text: str) -> bool:
    """Whether a text is a number of digits and their usual separators, whatever the region."""
    return _may_be_number(text) and _PLAIN_NUMBER.fullmatch(text) is not None


def _may_be_number(text: str) -> bool:
    return len(_digits(text)) >= MIN_DIGITS and not _DATE.fullmatch(text)


def holds_numbers(data: Sequence[Row], position: int, region: str) -> bool:
    """Whether half of the filled cells of a column look like numbers."""
    cells = filled_cells(data, position)
    return sum(looks_like_number(cell, region) for cell in cells) * 2 >= len(cells)


def find_others(names: Sequence[str], data: Sequence[Row], phone: int) -> Sequence[str]:
    """Return the columns, besides that of the numbers, of which a cell has as many digits."""
    return [
        name
        for position, name in enumerate(names)
        if position != phone
        and any(len(_digits(cell)) >= MIN_DIGITS for cell in filled_cells(data, position))
    ]


def _digits(text: str) -> str:
    return re.sub(r"\D", "", text)


def filled_cells(data: Sequence[Row], position: int) -> Sequence[str]:
    """Return the cells of a column that are not empty."""
    return [cell for row in data if (cell := row.cell(position))]
