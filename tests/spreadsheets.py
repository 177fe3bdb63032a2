"""Files as spreadsheets store them, written by hand: XLSX, ODS and the old XLS."""

import struct
import zipfile
from collections.abc import Mapping, Sequence
from io import BytesIO
from xml.sax.saxutils import escape

from smstracker.batches.columns import column_letters

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
DOCUMENT = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"
RELATIONS = f'<Relationships xmlns="{PACKAGE}/relationships">'
ODS = "urn:oasis:names:tc:opendocument:xmlns"
SECTOR = 512
FREE, END, FAT = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD

# A cell: text, number, or the XML of one, which begins with <.
Cell = str | int | float
Rows = Sequence[Sequence[Cell]]


def _zip(parts: Mapping[str, str]) -> bytes:
    file = BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in parts.items():
            archive.writestr(name, text)
    return file.getvalue()


def xlsx(
    sheets: Mapping[str, Rows], *, merged: Sequence[str] = (), hidden: str = "", more_rows: str = ""
) -> bytes:
    """An XLSX file; `merged` are ranges of each sheet, `hidden` is the name of a sheet."""
    relations, entries, parts = "", "", {}
    for number, (name, rows) in enumerate(sheets.items(), start=1):
        target = f"worksheets/sheet{number}.xml"
        state = ' state="hidden"' if name == hidden else ""
        entries += f'<sheet name="{name}" sheetId="{number}" r:id="r{number}"{state}/>'
        relations += f'<Relationship Id="r{number}" Type="{DOCUMENT}/worksheet" Target="{target}"/>'
        ranges = "".join(f'<mergeCell ref="{cells}"/>' for cells in merged)
        parts[f"xl/{target}"] = (
            f'<worksheet xmlns="{MAIN}"><sheetData>{_xlsx_rows(rows)}{more_rows}</sheetData>'
            f"<mergeCells>{ranges}</mergeCells></worksheet>"
        )
    book = f'<workbook xmlns="{MAIN}" xmlns:r="{DOCUMENT}"><sheets>{entries}</sheets></workbook>'
    root = f'<Relationship Id="r1" Type="{DOCUMENT}/officeDocument" Target="xl/workbook.xml"/>'
    # The second is of dates, the third of durations.
    formats = '<cellXfs><xf numFmtId="0"/><xf numFmtId="14"/><xf numFmtId="46"/></cellXfs>'
    return _zip(
        {
            "[Content_Types].xml": f'<Types xmlns="{PACKAGE}/content-types"/>',
            "_rels/.rels": f"{RELATIONS}{root}</Relationships>",
            "xl/workbook.xml": book,
            "xl/_rels/workbook.xml.rels": f"{RELATIONS}{relations}</Relationships>",
            "xl/styles.xml": f'<styleSheet xmlns="{MAIN}">{formats}</styleSheet>',
            **parts,
        }
    )


def _xlsx_rows(rows: Rows) -> str:
    return "".join(
        f'<row r="{number}">'
        + "".join(_xlsx_cell(cell, f"{column_letters(at)}{number}") for at, cell in enumerate(row))
        + "</row>"
        for number, row in enumerate(rows, start=1)
    )


def _xlsx_cell(cell: Cell, place: str) -> str:
    if isinstance(cell, int | float):
        return f'<c r="{place}"><v>{cell!r}</v></c>'
    if cell.startswith("<c "):
        return cell.replace("<c ", f'<c r="{place}" ', 1)
    text = f'<c r="{place}" t="inlineStr"><is><t xml:space="preserve">{escape(cell)}</t></is></c>'
    return text if cell else ""


def ods(rows: Rows) -> bytes:
    body = "".join(
        f"<table:table-row>{''.join(map(_ods_cell, row))}</table:table-row>" for row in rows
    )
    spaces = " ".join(f'xmlns:{name}="{ODS}:{name}:1.0"' for name in ("office", "table", "text"))
    content = (
        f"<office:document-content {spaces}><office:body><office:spreadsheet>"
        f'<table:table table:name="People">{body}</table:table>'
        "</office:spreadsheet></office:body></office:document-content>"
    )
    manifest = f'<manifest xmlns="{ODS}:manifest:1.0"/>'
    kind = "application/vnd.oasis.opendocument.spreadsheet"
    return _zip({"mimetype": kind, "META-INF/manifest.xml": manifest, "content.xml": content})


def _ods_cell(cell: Cell) -> str:
    if isinstance(cell, int | float):
        return f'<table:table-cell office:value-type="float" office:value="{cell!r}"/>'
    text = f"<text:p>{escape(cell)}</text:p>"
    return f'<table:table-cell office:value-type="string">{text}</table:table-cell>'


def xls(rows: Rows) -> bytes:
    """A BIFF8 workbook in a compound file, as spreadsheets stored until 2003."""
    sheet = _record(0x809, struct.pack("<HHHHII", 0x600, 0x10, 0, 0, 0, 0))
    for y, row in enumerate(rows):
        for x, cell in enumerate(row):
            place = struct.pack("<HHH", y, x, 0)
            if isinstance(cell, str):
                text = cell.encode("utf-16-le")
                sheet += _record(0x204, place + struct.pack("<HB", len(cell), 1) + text)
            else:
                sheet += _record(0x203, place + struct.pack("<d", cell))
    sheet += _record(0x0A, b"")
    head = _record(0x809, struct.pack("<HHHHII", 0x600, 5, 0, 0, 0, 0))
    name = b"People"
    size = len(head) + 4 + 8 + len(name) + 4
    bound = struct.pack("<IHBB", size, 0, len(name), 0) + name
    return _compound(head + _record(0x85, bound) + _record(0x0A, b"") + sheet)


def _record(kind: int, data: bytes) -> bytes:
    return struct.pack("<HH", kind, len(data)) + data


def _compound(stream: bytes) -> bytes:
    stream = stream.ljust(4096, b"\0")  # a shorter one is stored in another way
    sectors = -(-len(stream) // SECTOR)
    chain = [*range(3, sectors + 2), END]
    fat = [FAT, END, *chain]
    fat += [FREE] * (SECTOR // 4 - len(fat))
    header = struct.pack(
        "<8s16xHHHHH6xIIIIIIIII",
        *(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", 0x3E, 3, 0xFFFE, 9, 6),
        *(0, 1, 1, 0, 4096, END, 0, END, 0),
    )
    header += struct.pack("<109I", 0, *[FREE] * 108)
    folder = _entry("Root Entry", 5, child=1, start=END, size=0)
    folder += _entry("Workbook", 2, child=FREE, start=2, size=len(stream))
    body = struct.pack("<128I", *fat) + folder.ljust(SECTOR, b"\0")
    return header + body + stream.ljust(sectors * SECTOR, b"\0")


def _entry(name: str, kind: int, *, child: int, start: int, size: int) -> bytes:
    text = name.encode("utf-16-le") + b"\0\0"
    links = struct.pack("<64sHBBIII", text, len(text), kind, 1, FREE, FREE, child)
    return links + bytes(36) + struct.pack("<IQ", start, size)
