"""XLSX, XLS and ODS: read by a child process, which a malicious file can end without harm."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from smstracker.batches import sheet_reader
from smstracker.batches.table import MAX_COLUMNS, Row, SheetChoiceError, Table, TableError
from smstracker.plurals import format_count, is_or_are

_PROBLEMS = {
    "password": "The file is protected by a password. Save it without one and upload that.",
    "unreadable": "This file is no spreadsheet that can be read. Save it as XLSX or CSV.",
    "columns": f"The sheet has more than {MAX_COLUMNS} columns. Delete those that are not needed.",
}
_TOO_LARGE = "The spreadsheet is damaged or too large. Copy its rows into a new one, or save CSV."
_EMPTY = "The file is empty."
VALUES_NOTE = (
    "Dates and numbers are written plainly, as 2026-12-31 and 0.25, however the sheet shows them. "
    "To choose a form yourself, write them as text."
)


def read_sheet(path: Path, sheet_name: str | None = None) -> Table:
    """Open a sheet of a spreadsheet. Raises TableError, SheetChoiceError if several hold rows."""
    notes = [VALUES_NOTE]
    return Table(_read_rows(path, sheet_name or "", notes), notes)


def _read_rows(path: Path, sheet_name: str, notes: list[str]) -> Iterator[Row]:
    command = [sys.executable, "-I", sheet_reader.__file__, str(path), sheet_name, str(MAX_COLUMNS)]
    # A parameter of the environment may hold a secret, and the child needs none.
    process = subprocess.Popen(
        command,
        env={},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        encoding="ascii",
    )
    try:
        assert process.stdout is not None  # noqa: S101
        yield from _parse_rows(process.stdout, notes)
        if process.wait() != 0:
            raise TableError(_TOO_LARGE)
    finally:
        process.kill()
        process.communicate()


def _parse_rows(lines: IO[str], notes: list[str]) -> Iterator[Row]:
    head = json.loads(lines.readline() or '{"error": ""}')
    if "error" in head:
        raise TableError(_PROBLEMS.get(head["error"], _TOO_LARGE))
    if "sheets" in head:
        raise SheetChoiceError(head["sheets"]) if head["sheets"] else TableError(_EMPTY)
    if hidden_count := head["hidden"]:
        hidden = format_count(hidden_count, "row")
        verb = is_or_are(hidden_count)
        notes.append(
            f"{hidden} {verb} hidden in the sheet, perhaps by a filter, and sent to as well."
        )
    for line in lines:
        number, cells, merged, uncomputed = json.loads(line)
        yield Row(number, cells, frozenset(merged), frozenset(uncomputed))
