"""CSV and pasted rows: the encoding and the delimiter are found, then the rows are streamed."""

import codecs
import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from smstracker.batches.encodings import OLD_ENCODINGS, guess_encoding
from smstracker.batches.phone_column import is_plain_number
from smstracker.batches.table import EncodingChoiceError, Row, Table, TableError

SAMPLE_BYTES = 64 * 1024
SAMPLE_ROWS = 100
CHUNK_BYTES = 1024 * 1024
DELIMITERS = ",\t;|"  # the first if nothing tells
MAX_NAMED = 10
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins as UTF-16's does
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_NO_TABLE = "This file holds no table. Save it as CSV or XLSX and upload that."
_CONTROL = re.compile(r"[\0-\x08\x0e-\x19\x1b-\x1f]")
# Excel reads ="0151" as a text, so some programs write numbers like that.
_TEXT_FORMULA = re.compile(r'="([^"]*)"')
# Exports, as ours, put an apostrophe before what a spreadsheet would compute.
_GUARD = re.compile(r"'(?=\s*[=+\-@])")


def read_csv(path: Path, chosen_encoding: str | None = None) -> Table:
    """Open a text file as a table, in an encoding that people chose. Raises TableError."""
    encoding = chosen_encoding or _find_encoding(path)
    try:
        with path.open(encoding=encoding, newline="") as file:
            sample = file.read(SAMPLE_BYTES)
    except UnicodeDecodeError as error:
        raise _letters_error(encoding, 0) from error
    if _CONTROL.search(sample):
        raise TableError(_NO_TABLE)
    notes: list[str] = []
    rows = _read_rows(path, encoding, find_delimiter(sample), notes)
    return Table(rows, notes, encoding if encoding in OLD_ENCODINGS else None)


def _read_rows(path: Path, encoding: str, delimiter: str, notes: list[str]) -> Iterator[Row]:
    with path.open(encoding=encoding, newline="") as file:
        number, joined = 1, list[int]()
        try:
            for number, cells in enumerate(_parse(file, delimiter), start=1):
                if any(_holds_row(cell, delimiter) for cell in cells):
                    joined.append(number)
                texts = [_clean(cell) for cell in cells]
                while texts and not texts[-1]:
                    texts.pop()
                if texts and not (number == 1 and _names_delimiter(cells)):
                    yield Row(number, texts)
        except csv.Error as error:
            raise TableError(_explain(error, number)) from error
        except UnicodeDecodeError as error:
            raise _letters_error(encoding, number + 1) from error
        if joined:
            notes.append(_describe_joined(joined))


def _holds_row(cell: str, delimiter: str) -> bool:
    """Whether a cell has several lines, and one of them cells of its own with a number."""
    if "\n" not in cell and "\r" not in cell:
        return False
    parts = (line.split(delimiter) for line in cell.splitlines())
    return any(len(row) > 1 and any(is_plain_number(part.strip()) for part in row) for row in parts)


def _describe_joined(numbers: list[int]) -> str:
    rows = ", ".join(map(str, numbers[:MAX_NAMED])) + " and more" * (len(numbers) > MAX_NAMED)
    return (
        f"One cell of row {rows} holds whole rows, and nobody in them gets a message. Perhaps a "
        "quotation mark is missing or too many there."
    )


def _letters_error(encoding: str, number: int) -> TableError:
    if encoding in OLD_ENCODINGS:
        return EncodingChoiceError(OLD_ENCODINGS[encoding], list(OLD_ENCODINGS))
    row = f"row {number}" if number else "the first rows"
    return TableError(f"The letters of {row} cannot be read. Save the file as CSV UTF-8.")


def _parse(lines: Iterable[str], delimiter: str) -> Iterator[list[str]]:
    return csv.reader(lines, delimiter=delimiter, strict=True)


def _clean(cell: str) -> str:
    text = _GUARD.sub("", cell.strip(), count=1) if cell.lstrip()[:1] == "'" else cell.strip()
    formula = _TEXT_FORMULA.fullmatch(text)
    return formula[1].strip() if formula else text


def _names_delimiter(cells: list[str]) -> bool:
    """Recognise Excel's own first line, "sep=;", which splits at its delimiter itself."""
    return re.fullmatch(r"sep=[;,|\t]?", cells[0].strip(), re.I) is not None and not any(cells[1:])


def _explain(error: csv.Error, number: int) -> str:
    if "field limit" in str(error):
        return f"A cell near row {number + 1} is too long. A quotation mark may be missing there."
    return f'A quotation mark near row {number + 1} does not fit. Within quotes, write " as "".'


def find_delimiter(sample: str) -> str:
    """Return what most evenly splits the rows of a sample; a comma if nothing does."""
    if match := re.match(r"sep=([;,|\t])\r?\n?", sample, re.I):
        return match[1]
    lines = sample.splitlines(keepends=True)
    # The last line may be cut.
    complete = lines[:-1] if len(sample) >= SAMPLE_BYTES else lines
    return max(DELIMITERS, key=lambda delimiter: _evenness(complete, delimiter))


def _evenness(lines: list[str], delimiter: str) -> tuple[float, int]:
    """Return the share of rows with the commonest number of cells, and that number.

    Rows of one cell do not tell: a report has lines above and below its table.
    """
    widths: Counter[int] = Counter()
    try:
        for cells in islice(_parse(lines, delimiter), SAMPLE_ROWS):
            widths[len(cells)] += bool(cells)
    except csv.Error:  # quotes that fit another delimiter, or a cut row
        pass
    split = ((count / widths.total(), width) for width, count in widths.items() if width > 1)
    return max(split, default=(0.0, 0))


def _find_encoding(path: Path) -> str:
    """Return the encoding: one of OLD_ENCODINGS if it had to be guessed."""
    with path.open("rb") as file:
        head = file.read(SAMPLE_BYTES)
    for mark, encoding in _BYTE_ORDER_MARKS:
        if head.startswith(mark):
            return encoding
    if b"\0" in head:
        return _find_wide_encoding(head)
    if _is_utf8(path):
        return "utf-8"
    return _guess_encoding(path)


def _find_wide_encoding(head: bytes) -> str:
    """Return which UTF-16 has its zero bytes where they are."""
    even, odd = head[::2].count(0), head[1::2].count(0)
    if max(even, odd) < len(head) // 10 or min(even, odd) > max(even, odd) // 10:
        raise TableError(_NO_TABLE)
    return "utf-16-be" if even > odd else "utf-16-le"


def _is_utf8(path: Path) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                decoder.decode(chunk)
            decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _guess_encoding(path: Path) -> str:
    with path.open("rb") as file:
        lines = ((number, line) for number, line in enumerate(file, 1) if not line.isascii())
        telling = list(islice(lines, 1000))
    invalid = [number for number, line in telling if not _decodes(line)]
    if len(invalid) <= len(telling) // 2:
        raise TableError(
            f"The letters of line {invalid[0]} are not stored as those of the others (UTF-8). "
            "Save the file as CSV UTF-8."
        )
    return guess_encoding(b"".join(line for _number, line in telling)[:SAMPLE_BYTES])


def _decodes(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True
