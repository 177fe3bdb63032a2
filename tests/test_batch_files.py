"""Files of people, read as they come from spreadsheets and programs."""

import io
import resource
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from smstracker.batches import sheet_reader, table
from smstracker.batches.table import EncodingChoiceError, SheetChoiceError, TableError
from smstracker.batches.table_file import open_table
from tests import spreadsheets
from tests.spreadsheets import Rows

NAMES: list[list[str | int | float]] = [["name", "phone"], ["Zoë", "+15558675310"]]
CSV = 'name;phone\r\n"Zoë";+15558675310\r\n'

Read = Callable[..., list[tuple[int, list[str]]]]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Read a file: the number and the cells of each row."""

    def read_rows(content: bytes, sheet: str | None = None) -> list[tuple[int, list[str]]]:
        path = tmp_path / "file"
        path.write_bytes(content)
        return [(row.number, list(row.cells)) for row in open_table(path, sheet).rows]

    return read_rows


def read_error(read: Read, content: bytes) -> str:
    with pytest.raises(TableError) as error:
        read(content)
    return str(error.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_a_text_file_is_read_in_each_unicode_encoding(read: Read, encoding: str) -> None:
    assert read(CSV.encode(encoding)) == [(1, ["name", "phone"]), (2, ["Zoë", "+15558675310"])]


def test_an_old_encoding_is_guessed_and_told(tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    path.write_bytes("name;phone\nMüller;+15558675310\n".encode("cp1252"))
    opened = open_table(path)
    assert [row.cells[0] for row in opened.rows] == ["name", "Müller"]
    assert opened.encoding == "cp1252"


def test_the_encoding_that_people_choose_is_used(tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    path.write_bytes("Dvořák;1\n".encode("cp1250"))
    assert next(open_table(path, encoding="cp1250").rows).cells[0] == "Dvořák"


@pytest.mark.parametrize("above", ["", "a;1\n" * 50_000], ids=["near", "far"])
def test_letters_that_an_encoding_does_not_have_ask_for_another(tmp_path: Path, above: str) -> None:
    path = tmp_path / "file.csv"
    path.write_bytes(above.encode() + b"M\x81ller;1\n")
    with pytest.raises(EncodingChoiceError, match="cannot be read as Western European"):
        list(open_table(path, encoding="cp1252").rows)


def test_a_broken_letter_among_good_ones_is_named(read: Read) -> None:
    content = "name;phone\nZoë;1\nJosé;2\nÅsa;3\n".encode() + "Ängla;4\n".encode("cp1252")
    assert "line 5 are not stored as those of the others" in read_error(read, content)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(read: Read, delimiter: str) -> None:
    lines = [["name", "phone", "due"], ["Ann, or Bo", "+1 555 867 5310", "4,50; soon"]]
    text = "\n".join(delimiter.join(f'"{cell}"' for cell in cells) for cells in lines)
    assert read(text.encode()) == [(1, lines[0]), (2, lines[1])]


def test_commas_in_the_text_do_not_split_a_file_with_semicolons(read: Read) -> None:
    rows = read(b"name;phone\nMiller, Ann;+15558675310\nSmith, Bo;+15558675311\n")
    assert rows[1:] == [(2, ["Miller, Ann", "+15558675310"]), (3, ["Smith, Bo", "+15558675311"])]


def test_lines_above_and_below_a_table_do_not_hide_its_delimiter(read: Read) -> None:
    table = '"First Name","Mobile"\n"Ann","(415) 555-0111"\n"Bo","(415) 555-0112"\n'
    foot = '\n\n"Spring campaign"\n"Copyright"\n"Confidential"\n"By:  Ann  3:15 PM"\n"Acme"\n'
    assert read((table + foot).encode())[1] == (2, ["Ann", "(415) 555-0111"])
    assert read(("Recall list\nClinic\n" + table + foot).encode())[2][1][0] == "First Name"


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_cell_that_holds_rows_is_told(tmp_path: Path, end: str) -> None:
    path = tmp_path / "file.csv"
    lines = ["name,phone,note", 'Ann,+14155550111,"see', "Bo,+14155550112,x", 'Cy,+14155550113,y"']
    path.write_text(end.join([*lines, "Di,+14155550114,z"]), newline="")
    opened = open_table(path)
    assert [row.number for row in opened.rows] == [1, 2, 3]
    assert opened.notes[0].startswith("One cell of row 2 holds whole rows, and nobody in them gets")


@pytest.mark.parametrize("note", ["High St 5\nBath, 12.05.2026", "a, b", "+14155550112\nx"])
def test_a_cell_of_several_lines_is_no_row(tmp_path: Path, note: str) -> None:
    path = tmp_path / "file.csv"
    path.write_text(f'name,phone,note\nAnn,+14155550111,"{note}"\n')
    opened = open_table(path)
    assert len(list(opened.rows)) == 2
    assert opened.notes == []


def test_the_first_line_of_excel_names_the_delimiter(read: Read) -> None:
    assert read(b"sep=;\nname;phone\nA,B;1\n") == [(2, ["name", "phone"]), (3, ["A,B", "1"])]


def test_rows_are_numbered_as_in_a_spreadsheet(read: Read) -> None:
    content = b'name,phone\n\n"two\nlines",1\n,,\nlast,2,,\n'
    assert read(content) == [(1, ["name", "phone"]), (3, ["two\nlines", "1"]), (5, ["last", "2"])]


def test_texts_that_are_guarded_against_formulas_are_read_as_they_were(read: Read) -> None:
    rows = read(b"""phone,note,age\n="0151 2345678",'+49 151 2345678,'tis\n""")
    assert rows[1] == (2, ["0151 2345678", "+49 151 2345678", "'tis"])


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b'name,phone\n"Ann,1\nBo,2\n', "A quotation mark near row 2 does not fit"),
        (b'name,phone\n"Ann" Lee,1\n', "A quotation mark near row 2 does not fit"),
        (b"a,b\n" + b"x" * 200_000, "A cell near row 2 is too long"),
        (b"", "The file is empty."),
        (b"\xef\xbb\xbf\r\n", "The file is empty."),
        (b"%PDF-1.7 ...", "holds no table"),
        (b"\x00\x01\x02\x03" * 50, "holds no table"),
        (b" <html><table><tr><td>1", "is a web page"),
        (b"PK\x03\x04" + b"no archive" * 20, "is no spreadsheet that can be read"),
    ],
)
def test_a_file_that_holds_no_table_is_refused_with_the_reason(
    read: Read, content: bytes, problem: str
) -> None:
    assert problem in read_error(read, content)


@pytest.mark.parametrize(
    "write",
    [lambda rows: spreadsheets.xlsx({"People": rows}), spreadsheets.ods, spreadsheets.xls],
    ids=["xlsx", "ods", "xls"],
)
def test_spreadsheets_are_read(read: Read, write: Callable[[Rows], bytes]) -> None:
    rows = [*NAMES, ["Bo", 491512345678.0], ["Cy", 0.25]]
    assert read(write(rows)) == [
        (1, ["name", "phone"]),
        (2, ["Zoë", "+15558675310"]),
        (3, ["Bo", "491512345678"]),
        (4, ["Cy", "0.25"]),
    ]


def test_cells_are_written_as_people_would(read: Read) -> None:
    formula = '<c t="str"><f>A1&amp;"!"</f><v>result</v></c>'
    never_computed, broken = "<c ><f>A1+1</f></c>", '<c t="e"><v>#N/A</v></c>'
    cells = ['<c s="1"><v>46359</v></c>', '<c s="1"><v>46359.5</v></c>', '<c t="b"><v>1</v></c>']
    content = spreadsheets.xlsx(
        {"One": [[*cells, formula, never_computed, broken, 4.1e17, 0.1 + 0.2]]}
    )
    dates = ["2026-12-03", "2026-12-03 12:00"]
    assert read(content) == [(1, [*dates, "TRUE", "result", "", "", "4.1e+17", "0.3"])]


def test_durations_are_written_in_hours(read: Read) -> None:
    days = [26.5 / 24, 8 / 24, 1 / 3 + 1e-9, 90 / 86400, 0]
    cells = [f'<c s="2"><v>{day}</v></c>' for day in days]
    texts = ["26:30", "8:00", "8:00", "0:01:30", "0:00"]
    assert read(spreadsheets.xlsx({"One": [[*cells, "x"]]})) == [(1, [*texts, "x"])]


@pytest.mark.parametrize("size", [sheet_reader.CHUNK_BYTES, 20])
def test_inline_texts_are_read_from_where_excel_finds_them(
    read: Read, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    rows = [[f'<c t="inlineStr"><v>{text}</v></c>' for text in row] for row in NAMES]
    content = spreadsheets.xlsx({"One": [*rows, ["A &amp; B", "+1"]]})
    assert read(content) == [
        (1, ["name", "phone"]),
        (2, ["Zoë", "+15558675310"]),
        (3, ["A &amp; B", "+1"]),
    ]
    monkeypatch.setattr(sheet_reader, "CHUNK_BYTES", size)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert sheet_reader._has_inline_values(archive, "xl/worksheets/sheet1.xml")


def test_rows_and_columns_that_are_left_empty_keep_their_numbers(tmp_path: Path) -> None:
    path = tmp_path / "file.xlsx"
    rows = [[], ["", "name", "phone"], ["", "Ann", "1"], [], ["", "", "2"]]
    path.write_bytes(spreadsheets.xlsx({"One": rows}, merged=["B3:B5"]))
    found = [(row.number, list(row.cells), set(row.merged)) for row in open_table(path).rows]
    assert found == [(2, ["name", "phone"], set()), (3, ["Ann", "1"], set()), (5, ["", "2"], {0})]


def test_of_several_sheets_with_rows_one_is_chosen(read: Read) -> None:
    content = spreadsheets.xlsx({"June": NAMES, "Empty": [], "July": NAMES})
    with pytest.raises(SheetChoiceError) as error:
        read(content)
    assert error.value.names == ["June", "July"]
    assert read(content, "July")[1] == (2, ["Zoë", "+15558675310"])


def test_hidden_and_empty_sheets_need_no_choice(read: Read) -> None:
    content = spreadsheets.xlsx({"Old": [["x"]], "Empty": [], "July": NAMES}, hidden="Old")
    assert read(content)[0] == (1, ["name", "phone"])


@pytest.mark.parametrize("size", [sheet_reader.CHUNK_BYTES, 20])
def test_rows_that_a_filter_hides_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    path = tmp_path / "file.xlsx"
    hidden = "".join(f'<row r="{n}" hidden="1"><c><v>{n}</v></c></row>' for n in range(9, 12))
    path.write_bytes(spreadsheets.xlsx({"Old": NAMES, "New": [["phone"]]}, more_rows=hidden))
    table = open_table(path, "New")
    assert len(list(table.rows)) == 4
    assert table.notes[-1].startswith("3 rows are hidden in the sheet")
    monkeypatch.setattr(sheet_reader, "CHUNK_BYTES", size)
    assert sheet_reader._read_marks(str(path), 1).hidden_count == 3


@pytest.mark.parametrize("size", [sheet_reader.CHUNK_BYTES, 30])
@pytest.mark.parametrize("result", ["", "<v></v>", "<v/>"])
def test_formulas_whose_result_is_not_in_the_file_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, result: str
) -> None:
    path = tmp_path / "file.xlsx"
    computed = '<c t="str"><f>B1</f><v>x</v></c>'
    rows: Rows = [["", "a", "b"], ["", f'<c t="str"><f>"+1"&amp;C1</f>{result}</c>', computed, 1]]
    path.write_bytes(spreadsheets.xlsx({"One": rows}))
    assert [set(row.uncomputed) for row in open_table(path).rows] == [set(), {0}]
    monkeypatch.setattr(sheet_reader, "CHUNK_BYTES", size)
    assert sheet_reader._read_marks(str(path), 0).uncomputed == {2: [1]}


def test_a_spreadsheet_that_would_fill_the_memory_is_refused(read: Read) -> None:
    far = '<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'
    assert "damaged or too large" in read_error(
        read, spreadsheets.xlsx({"A": [[1]]}, more_rows=far)
    )


@pytest.mark.parametrize(
    "filling",
    [
        *("<row " * 400_000, "f>" + "<c " * 600_000, "f>" + '<c  r="A1"' * 200_000),
        *("<c" + ' r="A1"' * 300_000 + "f>", 'f><c r="A1"><f></f>' + " " * 2_000_000),
    ],
    ids=["rows", "cells", "cells with places", "places", "blanks"],
)
def test_a_small_spreadsheet_is_read_soon_whatever_it_holds(read: Read, filling: str) -> None:
    content = spreadsheets.xlsx({"A": [["phone"]]}, more_rows=f"<!--{filling}-->")
    assert len(content) < 50_000
    began = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert read(content) == [(1, ["phone"])]
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert ended.ru_utime - began.ru_utime < sheet_reader.MIN_CPU_SECONDS


@pytest.mark.parametrize("start", [b"<", b'<row r="1"', b"<c><f>"])
def test_what_never_ends_in_a_sheet_is_not_read_again_and_again(start: bytes) -> None:
    text = b"<row><c>" + start + b" " * sheet_reader.CHUNK_BYTES
    assert text[sheet_reader._find_cut(text) :].startswith(start)
    text += b" " * 4 * sheet_reader.CHUNK_BYTES
    assert sheet_reader._find_cut(text) == len(text)


@pytest.mark.parametrize(("megabytes", "seconds"), [(0, 10), (80, 30), (1000, 60)])
def test_a_spreadsheet_gets_time_in_proportion_to_its_size(megabytes: int, seconds: int) -> None:
    limit = f"sheet_reader._limit_time({megabytes * 1024**2})"
    told = f"import resource, sheet_reader; {limit}; print(resource.getrlimit(resource.RLIMIT_CPU))"
    folder = Path(sheet_reader.__file__).parent
    command = [sys.executable, "-c", told]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    assert ended.stdout == f"{(seconds, seconds)}\n"


def test_a_spreadsheet_that_claims_a_size_beyond_reason_is_not_read(read: Read) -> None:
    content = spreadsheets.xlsx({"A": [["phone"]]})
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        part = archive.getinfo("xl/worksheets/sheet1.xml")
    size = part.file_size.to_bytes(4, "little")
    assert content.count(size) == 2
    claim = (2 * 1024**3).to_bytes(4, "little")
    assert "damaged or too large" in read_error(read, content.replace(size, claim))


@pytest.mark.slow
def test_a_spreadsheet_that_unpacks_to_far_more_is_refused(read: Read) -> None:
    cell = f"<row><c t='str'><v>{'x' * 10_000_000}</v></c></row>"
    content = spreadsheets.xlsx({"A": [[1]]}, more_rows=cell * 120)
    assert len(content) < 10_000_000
    assert "damaged or too large" in read_error(read, content)


def test_a_spreadsheet_with_too_many_columns_is_refused(read: Read) -> None:
    assert "more than 100 columns" in read_error(read, spreadsheets.xlsx({"A": [[1] * 101]}))


def test_limits_of_rows_and_columns(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "more than 100 columns" in read_error(read, b"a" + b",a" * 100)
    assert len(read(b"phone\n" + b"1" * 20_000)) == 2
    assert "more than 20,000 characters" in read_error(read, b"phone\n1," + b"1" * 20_000)
    monkeypatch.setattr("smstracker.batches.table_file.MAX_ROWS", 2)
    assert len(read(b"phone\n1\n2\n")) == 3
    assert "more than 2 rows" in read_error(read, b"phone\n1\n2\n3\n")
    monkeypatch.setattr("smstracker.batches.table_file.MAX_FILE_BYTES", table.MAX_COLUMNS)
    assert "larger than" in read_error(read, b"phone\n" + b"1" * 100)
