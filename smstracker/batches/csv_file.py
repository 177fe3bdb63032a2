"""CSV and pasted rows: the encoding and the delimiter are found, then the rows are streamed."""

import codecs
import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from charset_normalizer import from_bytes

from smstracker.batches.table import FileError, Row, Table

SAMPLE_BYTES = 64 * 1024
SAMPLE_ROWS = 100
CHUNK_BYTES = 1024 * 1024
DELIMITERS = "\t;,|"
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins as UTF-16's does
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# What spreadsheets store in; the first one that fits as well as another is taken.
_OLD_ENCODINGS = {
    "cp1252": "Western European (Windows-1252)",
    "cp1250": "Central European (Windows-1250)",
    "cp1251": "Cyrillic (Windows-1251)",
    "cp1253": "Greek (Windows-1253)",
    "cp1254": "Turkish (Windows-1254)",
    "cp1255": "Hebrew (Windows-1255)",
    "cp1256": "Arabic (Windows-1256)",
    "cp932": "Japanese (Shift JIS)",
    "gb18030": "Chinese (GB 18030)",
    "big5": "Chinese (Big5)",
    "cp949": "Korean (CP949)",
    "mac_roman": "Western European (Macintosh)",
    "cp850": "Western European (DOS)",
}
_NO_TABLE = "This file holds no table. Save it as CSV or XLSX and upload that."
_CONTROL = re.compile(r"[\0-\x08\x0e-\x19\x1b-\x1f]")
# Excel reads ="0151" as a text, so some programs write numbers like that.
_TEXT_FORMULA = re.compile(r'="([^"]*)"')
# Exports, as ours, put an apostrophe before what a spreadsheet would compute.
_GUARD = re.compile(r"'(?=\s*[=+\-@])")


def read_csv(path: Path) -> Table:
    """Open a text file as a table. Raises FileError."""
    encoding, notes = _find_encoding(path)
    with path.open(encoding=encoding, newline="") as file:
        sample = file.read(SAMPLE_BYTES)
    if _CONTROL.search(sample):
        raise FileError(_NO_TABLE)
    return Table(_read_rows(path, encoding, find_delimiter(sample)), notes)


def _read_rows(path: Path, encoding: str, delimiter: str) -> Iterator[Row]:
    with path.open(encoding=encoding, newline="") as file:
        number = 1
        try:
            for number, cells in enumerate(_parse(file, delimiter), start=1):
                texts = [_clean(cell) for cell in cells]
                while texts and not texts[-1]:
                    texts.pop()
                if texts and not (number == 1 and _names_delimiter(cells)):
                    yield Row(number, texts)
        except csv.Error as error:
            raise FileError(_explain(error, number)) from error
        except UnicodeDecodeError as error:
            raise FileError(
                f"The letters of row {number + 1} cannot be read. Save the file as CSV UTF-8."
            ) from error


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
    return max(DELIMITERS, key=lambda delimiter: _evenness(complete, delimiter), default=",")


def _evenness(lines: list[str], delimiter: str) -> tuple[float, int]:
    widths: Counter[int] = Counter()
    try:
        for cells in islice(_parse(lines, delimiter), SAMPLE_ROWS):
            widths[len(cells)] += bool(cells)
    except csv.Error:  # quotes that fit another delimiter, or a cut row
        pass
    width, count = max(widths.items(), key=lambda item: item[1], default=(1, 0))
    return (count / widths.total(), width) if width > 1 else (0.0, 0)


def _find_encoding(path: Path) -> tuple[str, list[str]]:
    """Return the encoding, and a note if it had to be guessed."""
    with path.open("rb") as file:
        head = file.read(SAMPLE_BYTES)
    for mark, encoding in _BYTE_ORDER_MARKS:
        if head.startswith(mark):
            return encoding, []
    if b"\0" in head:
        return _find_wide_encoding(head), []
    if _is_utf8(path):
        return "utf-8", []
    return _guess_encoding(path)


def _find_wide_encoding(head: bytes) -> str:
    """Return which UTF-16 has its zero bytes where they are."""
    even, odd = head[::2].count(0), head[1::2].count(0)
    if max(even, odd) < len(head) // 10 or min(even, odd) > max(even, odd) // 10:
        raise FileError(_NO_TABLE)
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


def _guess_encoding(path: Path) -> tuple[str, list[str]]:
    with path.open("rb") as file:
        lines = ((number, line) for number, line in enumerate(file, 1) if not line.isascii())
        telling = list(islice(lines, 1000))
    invalid = [number for number, line in telling if not _decodes(line)]
    if len(invalid) <= len(telling) // 2:
        raise FileError(
            f"The letters of line {invalid[0]} are not stored as those of the others (UTF-8). "
            "Save the file as CSV UTF-8."
        )
    sample = b"".join(line for _number, line in telling)[:SAMPLE_BYTES]
    best = from_bytes(sample, cp_isolation=list(_OLD_ENCODINGS)).best()
    encoding = best.encoding if best else "cp1252"
    name = _OLD_ENCODINGS.get(encoding, encoding)
    return encoding, [
        f"The file does not say how its letters are stored. It was read as {name}: compare the "
        "names in the preview, or save the file as CSV UTF-8."
    ]


def _decodes(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True
