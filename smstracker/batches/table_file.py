"""An uploaded file as a table. What it is, its first bytes tell; names and types may be wrong."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from smstracker.batches.csv_file import read_csv
from smstracker.batches.sheet_file import read_sheet
from smstracker.batches.table import (
    MAX_COLUMNS,
    MAX_FILE_BYTES,
    MAX_ROW_CHARACTERS,
    MAX_ROWS,
    Row,
    Table,
    TableError,
)

_SPREADSHEET = re.compile(rb"PK\x03\x04|\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")
_WEB_PAGE = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype|html|table|meta|\?xml|body)", re.I)
_OTHER_FILE = re.compile(
    rb"%PDF|\{\\rtf|\x89PNG|\xff\xd8\xff|GIF8|Rar!|7z\xbc\xaf|\x1f\x8b|PK\x05\x06|BEGIN:VCARD", re.I
)


def open_table(path: Path, sheet_name: str | None = None, encoding: str | None = None) -> Table:
    """Open a CSV, XLSX, XLS or ODS file. Raises TableError, also while its rows are read."""
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise TableError(f"The file is larger than {MAX_FILE_BYTES // 1024**2} MB. Divide it.")
    with path.open("rb") as file:
        head = file.read(512)
    if not head.strip(b"\0\t\r\n \xef\xbb\xbf\xff\xfe"):
        raise TableError("The file is empty.")
    if _WEB_PAGE.match(head):
        raise TableError("This file is a web page. Open it in a spreadsheet and save it as XLSX.")
    if _OTHER_FILE.match(head):
        raise TableError("This file holds no table. Save the table as CSV or XLSX.")
    is_spreadsheet = _SPREADSHEET.match(head)
    table = read_sheet(path, sheet_name) if is_spreadsheet else read_csv(path, encoding)
    return replace(table, rows=limit_rows(table.rows, MAX_ROWS + 1))  # with the headings


def limit_rows(rows: Iterator[Row], max_count: int) -> Iterator[Row]:
    """Yield rows. Raises TableError at the first one that is too many or too large."""
    for count, row in enumerate(rows):
        if count >= max_count:
            raise TableError(f"The file has more than {MAX_ROWS:,} rows. Divide it.")
        if len(row.cells) > MAX_COLUMNS:
            raise TableError(f"Row {row.number} has more than {MAX_COLUMNS} columns.")
        if sum(map(len, row.cells)) > MAX_ROW_CHARACTERS:
            raise TableError(
                f"Row {row.number} holds more than {MAX_ROW_CHARACTERS:,} characters. Delete the "
                "columns that the text does not need."
            )
        yield row
