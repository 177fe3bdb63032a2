"""The child process that reads a spreadsheet and prints its rows, each as JSON on a line.

A small file can claim a billion cells, for which the library allocates memory until the process is
aborted. So it runs alone, with limits, and imports nothing of ours: `python sheet_reader.py FILE
SHEET COLUMNS`. The first line is {"error": …}, {"sheets": […]} to choose from, or {"hidden": …}
with the number of hidden rows.
"""

import io
import json
import os
import re
import resource
import sys
import zipfile
import zlib
from datetime import date, datetime, time, timedelta
from typing import IO

import python_calamine as calamine

MEMORY_BYTES = 1024 * 1024 * 1024
CPU_SECONDS = 60  # at most
MIN_CPU_SECONDS = 10
# The slowest machine reads several times as much, so only what is made to be slow takes longer.
BYTES_PER_CPU_SECOND = 4 * 1024 * 1024  # unpacked
MAX_UNPACKED_BYTES = 1024 * 1024 * 1024
MAX_SHEETS = 20  # that are looked into
MAX_CELL = 32_767  # characters: Excel's own limit
MAX_EXACT_INTEGER = 10**15  # beyond it Excel itself has lost digits
MAX_MERGED_ROWS = 100_000
MAX_UNCOMPUTED = 200_000  # cells
CHUNK_BYTES = 1024 * 1024
# Of an XLSX file: its sheets with the ids of their parts, the parts, rows that are hidden, and
# formulas without a result, as programs write them that do not compute. No tag holds a "<", and
# what is matched once is not matched again ("*+", "(?>"): the time is in proportion to the size.
SHEET = re.compile(rb"<(?:\w+:)?sheet\b[^<>]*+>")
PART = re.compile(rb"<(?:\w+:)?Relationship\b[^<>]*+>")
ATTRIBUTE = re.compile(rb'\s(?:\w+:)?(name|id|Id|Target)="([^"]*)"')
ROW = re.compile(rb"<(?:\w+:)?row\b[^<>]*+>")
UNCOMPUTED = re.compile(
    rb'<(?:\w+:)?c\b(?>[^<>]*?\sr="([A-Z]{1,3})([0-9]{1,7})")[^<>]*+>\s*+'
    rb"<(?:\w+:)?f\b(?>[^<>]*?(?:/>|>[^<]*+</(?:\w+:)?f>))\s*+"
    rb"(?:<(?:\w+:)?v\s*+/>|<(?:\w+:)?v>\s*+</(?:\w+:)?v>)?+\s*+</(?:\w+:)?c>"
)
INLINE_VALUE = re.compile(
    rb'(<(?:\w+:)?c\b[^<>]{0,200}\st=")inlineStr("[^<>]{0,200}>\s{0,20}<(?:\w+:)?v>)'
)
MAX_TAG = 1000  # bytes of the beginning of a cell
ROW_OR_CELL = re.compile(rb"<(?:\w+:)?(?:row|c)\b")
SHEETS = "xl/worksheets/"
RELATIONS = "xl/_rels/workbook.xml.rels"
HIDDEN = re.compile(rb'\shidden="(?:1|true)"')

Cell = str | bool | int | float | date | datetime | time | timedelta


def main() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    path, name, max_columns = sys.argv[1:]
    try:
        _limit_time(_unpacked_bytes(path))
        workbook = _open(path)
        sheets = _find_sheets(workbook, name)
    except calamine.PasswordError:
        _print({"error": "password"})
    except (calamine.CalamineError, ValueError, OSError):
        _print({"error": "unreadable"})
    else:
        if len(sheets) == 1:
            marks = _read_marks(path, workbook.sheet_names.index(sheets[0].name))
            _print_sheet(sheets[0], int(max_columns), marks)
        else:
            _print({"sheets": [sheet.name for sheet in sheets]})


def _print(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")


def _unpacked_bytes(path: str) -> int:
    """The size that a file claims to have unpacked; XLS holds as much as ten times the XML."""
    try:
        with zipfile.ZipFile(path) as archive:
            return sum(part.file_size for part in archive.infolist())
    except zipfile.BadZipFile:
        return 10 * os.path.getsize(path)


def _limit_time(size: int) -> None:
    """Have the process end when a file takes longer than its size explains."""
    if size > MAX_UNPACKED_BYTES:
        raise SystemExit(1)
    seconds = min(MIN_CPU_SECONDS + size // BYTES_PER_CPU_SECOND, CPU_SECONDS)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))


def _open(path: str) -> calamine.CalamineWorkbook:
    """Open a workbook; the library takes a text in <v> for one only if it is not called inline."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.startswith(SHEETS)]
            if any(_has_inline_values(archive, name) for name in names):
                return calamine.CalamineWorkbook.from_filelike(_mend_inline_values(archive))
    except (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error):
        pass
    return calamine.CalamineWorkbook.from_path(path)


def _has_inline_values(archive: zipfile.ZipFile, name: str) -> bool:
    rest = b""
    with archive.open(name) as part:
        while piece := part.read(CHUNK_BYTES):
            if INLINE_VALUE.search(text := rest + piece):
                return True
            rest = text[-MAX_TAG:]
    return False


def _mend_inline_values(archive: zipfile.ZipFile) -> IO[bytes]:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as copy:
        for name in archive.namelist():
            data = archive.read(name)
            is_sheet = name.startswith(SHEETS)
            copy.writestr(name, INLINE_VALUE.sub(rb"\1str\2", data) if is_sheet else data)
    file.seek(0)
    return file


def _find_sheets(workbook: calamine.CalamineWorkbook, name: str) -> list[calamine.CalamineSheet]:
    """The sheet of that name, else all visible ones that hold something."""
    if name:
        return [workbook.get_sheet_by_name(name)]
    visible = [
        sheet.name
        for sheet in workbook.sheets_metadata
        if sheet.visible == calamine.SheetVisibleEnum.Visible
        and sheet.typ == calamine.SheetTypeEnum.WorkSheet
    ]
    sheets = (workbook.get_sheet_by_name(name) for name in visible[:MAX_SHEETS])
    return [sheet for sheet in sheets if sheet.height]


class Marks:
    """What the library does not tell: how many rows are hidden, and formulas without a result."""

    def __init__(self) -> None:
        self.hidden_count = 0
        self.uncomputed: dict[int, list[int]] = {}  # columns by row
        self._count = 0

    def add(self, text: bytes) -> None:
        self.hidden_count += sum(bool(HIDDEN.search(row)) for row in ROW.findall(text))
        if b"f>" not in text and b"f " not in text:
            return
        for letters, number in UNCOMPUTED.findall(text):
            if self._count < MAX_UNCOMPUTED:
                self._count += 1
                self.uncomputed.setdefault(int(number), []).append(_column_position(letters))


def _column_position(letters: bytes) -> int:
    position = 0
    for letter in letters:
        position = position * 26 + letter - ord("A") + 1
    return position - 1


def _read_marks(path: str, position: int) -> Marks:
    """Read the marks of a sheet; none if the file does not have them."""
    marks = Marks()
    try:
        with (
            zipfile.ZipFile(path) as archive,
            archive.open(_find_part(archive, position)) as part,
        ):
            _read_parts(part, marks)
    except (OSError, LookupError, ValueError, StopIteration, zipfile.BadZipFile):
        pass
    return marks


def _find_part(archive: zipfile.ZipFile, position: int) -> str:
    """The name of the part of an XLSX file that holds a sheet."""
    sheets = SHEET.findall(archive.read("xl/workbook.xml"))
    relation = dict(ATTRIBUTE.findall(sheets[position]))[b"id"]
    parts = map(dict, map(ATTRIBUTE.findall, PART.findall(archive.read(RELATIONS))))
    target = next(part[b"Target"] for part in parts if part[b"Id"] == relation).decode()
    return target.removeprefix("/") if target.startswith("/") else f"xl/{target}"


def _read_parts(part: IO[bytes], marks: Marks) -> None:
    rest = b""
    while piece := part.read(CHUNK_BYTES):
        text = rest + piece
        cut = _find_cut(text)
        marks.add(text[:cut])
        rest = text[cut:]
    marks.add(rest)


def _find_cut(text: bytes) -> int:
    """Where the last row, cell or tag begins that may go on in the next piece; none is long."""
    starts = [match.start() for match in ROW_OR_CELL.finditer(text)][-1:]
    tag = text.rfind(b"<")
    if text.rfind(b">") < tag:  # not even its name may be whole
        starts.append(tag)
    return min((at for at in starts if len(text) - at < 4 * CHUNK_BYTES), default=len(text))


def _print_sheet(sheet: calamine.CalamineSheet, max_columns: int, marks: Marks) -> None:
    if sheet.width > max_columns:
        _print({"error": "columns"})
        return
    _print({"hidden": marks.hidden_count})
    merged = _find_merged(sheet)
    first_column = (sheet.start or (0, 0))[1]
    # The rows begin with the first of the sheet, the cells with the first that holds something.
    for number, cells in enumerate(sheet.iter_rows(), start=1):
        texts = list(map(_to_text, cells))
        while texts and not texts[-1]:
            texts.pop()
        if texts:
            places = (merged.get(number, ()), marks.uncomputed.get(number, ()))
            _print([number, texts, *([c - first_column for c in columns] for columns in places)])


def _find_merged(sheet: calamine.CalamineSheet) -> dict[int, list[int]]:
    """The columns, by row, of cells that belong to a merged one further up."""
    merged: dict[int, list[int]] = {}
    for (top, first), (bottom, last) in sheet.merged_cell_ranges or ():
        for row in range(top + 1, min(bottom, top + MAX_MERGED_ROWS - len(merged)) + 1):
            merged.setdefault(row + 1, []).extend(range(first, min(last, first + 100) + 1))
    return merged


def _to_text(cell: Cell) -> str:
    """The cell as people would write it; the format that the sheet shows it in is not known."""
    if isinstance(cell, str):
        return cell.strip()[:MAX_CELL]
    if isinstance(cell, bool):
        return str(cell).upper()
    if isinstance(cell, float):
        is_whole = cell.is_integer() and abs(cell) < MAX_EXACT_INTEGER
        return str(int(cell)) if is_whole else f"{cell:.15g}"
    if isinstance(cell, datetime):
        return f"{cell:%Y-%m-%d}" if cell.time() == time() else f"{cell:%Y-%m-%d %H:%M}"
    if isinstance(cell, time):
        return f"{cell:%H:%M:%S}".removesuffix(":00")
    if isinstance(cell, timedelta):
        return _write_duration(round(cell.total_seconds()))
    return str(cell)


def _write_duration(seconds: int) -> str:
    """A duration as [h]:mm shows it, beyond a day as well: "26:30"."""
    minutes, second = divmod(abs(seconds), 60)
    text = f"{'-' * (seconds < 0)}{minutes // 60}:{minutes % 60:02}"
    return f"{text}:{second:02}" if second else text


if __name__ == "__main__":
    main()
