"""The column of the numbers, the columns of the fields, and the check of each row."""

from pathlib import Path

import pytest

from smstracker.batches.columns import match_columns
from smstracker.batches.pasted import find_lines, read_lines
from smstracker.batches.phone_column import ColumnError
from smstracker.batches.row_check import FileReport, RowChecker
from smstracker.batches.table import Row, Table, TableError
from smstracker.models.batches import COSTLY, DUPLICATE
from smstracker.sms.phone_numbers import parse_recipient
from smstracker.sms.phone_spelling import PhoneNumberError
from smstracker.sms.text_fields import TextTemplate, find_unfilled_field
from tests.tables import NUMBER, SENDER, US, check, match, problems, table_of

HI = TextTemplate("Hi ((name))")
DE = "DE"


def column_problems(*lines: str, text: str = "") -> list[str]:
    with pytest.raises(ColumnError) as error:
        match(*lines, text=text)
    return [*error.value.problems]


def test_without_headings_the_first_row_is_sent_to() -> None:
    columns, rows = match_columns(table_of(f"Ann|{NUMBER}"), TextTemplate("Hi"), US)
    assert (columns.names, columns.phone) == (["Column A", "Column B"], 1)
    assert [row.number for row in rows] == [1]


def test_a_title_above_the_headings_is_left_out_and_said() -> None:
    table = table_of("Members of 2026", "", "name|phone|street", f"Ann|{NUMBER}|High St")
    columns, rows = match_columns(table, HI, US)
    assert columns.names == ["name", "phone", "street"]
    assert [row.number for row in rows] == [4]
    assert table.notes == ["The headings are in row 3. What is above them is left out."]


def test_a_title_above_two_columns_is_no_heading() -> None:
    columns = match("Recall list", "Clinic", "name|phone", f"Ann|{NUMBER}", "End")
    assert (columns.names, columns.heading_row) == (["name", "phone"], 3)
    assert match("phone", "12345|Ann", f"{NUMBER}|Bo").heading_row == 1


def test_a_row_with_a_number_is_never_taken_for_a_title() -> None:
    _columns, rows = match_columns(table_of(NUMBER, f"{NUMBER}|Ann|x|y"), TextTemplate("Hi"), US)
    assert [row.number for row in rows] == [1, 2]


@pytest.mark.parametrize("lines", [(), ("phone|name",)])
def test_a_file_without_rows_is_refused(lines: tuple[str, ...]) -> None:
    with pytest.raises(TableError):
        match(*lines)


def test_fields_find_their_columns_whatever_case_and_spaces() -> None:
    columns = match(
        "Phone|First_Name|DUE date\n|x",
        f"{NUMBER}|Ann|Friday|",
        text="((first name)) ((due-date))",
    )
    assert columns.fields == {"firstname": 1, "duedate": 2}


def test_all_problems_of_columns_are_told_at_once() -> None:
    lines = ("naem|phone|mobile|x|x", f"Ann|{NUMBER}|{NUMBER}|1|2")
    assert column_problems(*lines, text="((name)) ((x)) ((") == [
        "Several columns may hold the numbers to send to: “phone”, “mobile”. Choose one.",
        "No column is called “name”, which the text has. Did you mean ((naem))?",
        "Two columns are called “x”. Rename one of them.",
        "The columns are: “naem”, “phone”, “mobile”, “x”, “x”.",
    ]


def test_a_text_is_filled_for_each_row() -> None:
    rows = check("phone|name", f"{NUMBER}|Ann", f"{NUMBER}|Zoë ✓", text="Hi ((Name)), ((name))!")
    assert [row.text for row in rows] == ["Hi Ann, Ann!", "Hi Zoë ✓, Zoë ✓!"]
    assert [(row.segments, row.costly) for row in rows] == [(1, ()), (1, ("ë", "✓"))]


@pytest.mark.parametrize(
    ("typed", "region"),
    [
        ("+491512345678.0", US),
        ("4.91512E+11", US),
        ("+49 151 2345678O", US),
        ("15112345678", DE),
        ("+15558675310 / +15558675311", US),
        ("whatsapp:+14155552671", US),
        ("=A2", US),
        ("n/a", US),
        ("", US),
    ],
)
def test_what_the_form_refuses_is_refused_in_a_file(typed: str, region: str) -> None:
    row = check("phone|name", f"{NUMBER}|Ann", f"{typed}|Bo", region=region)[1]
    assert row.recipient is None
    assert row.problem is not None
    assert row.problem.startswith("phone: ")


def test_a_number_whose_plus_was_lost_is_not_completed_by_the_home_country() -> None:
    rows = check("phone|x", f"{NUMBER}|1", "4915123456789|2", region=DE)
    assert rows[1].recipient in (None, "+4915123456789")


@pytest.mark.parametrize(
    ("cells", "problem"),
    [
        (f"{NUMBER}|", "name: There is no value."),
        (f"{NUMBER}|=B2", "name: There is a formula in the cell. Put its result there."),
        (
            f"{NUMBER}|((first))",
            "The text would still hold “((first))”. Take the brackets out.",
        ),
        (f"{NUMBER}|Ann|more", "It has more cells than there are columns. Quotes may be missing."),
        (
            "x|",
            "phone: That is not a phone number. Type it like +1 555 867 5310. "
            "name: There is no value.",
        ),
    ],
)
def test_a_bad_row_has_its_reasons_and_the_next_row_is_good(cells: str, problem: str) -> None:
    lines = (f"{NUMBER}|Bo", cells, f"{NUMBER}|Cy")
    assert problems("phone|name", *lines, text="Hi ((name))") == [None, problem, None]


def test_a_text_that_grows_too_long_is_refused_in_its_row() -> None:
    reasons = problems(
        "phone|name", f"{NUMBER}|{'x' * 1597}", f"{NUMBER}|{'x' * 1598}", text="Hi ((name))"
    )
    assert reasons == [None, "1,601 characters: 1 more than one message can hold."]


def test_a_merged_cell_is_explained() -> None:
    rows = [
        Row(1, ["name", "phone"]),
        Row(2, ["Ann", NUMBER]),
        Row(3, ["", NUMBER], frozenset({0})),
    ]
    columns, data = match_columns(Table(iter(rows)), HI, US)
    checker = RowChecker(columns, HI, SENDER, US)
    assert [row.problem for row in map(checker.check, data)] == [
        None,
        "name: The cell is merged with one above. Undo that, so that each row has its own.",
    ]


def test_the_report_counts_rows_segments_and_duplicates() -> None:
    lines = ["phone|name", f"{NUMBER}|Ann", "(555) 867-5310|Bo", "+491512345678|✓" + "x" * 70]
    report = FileReport()
    bits = [report.add(row) for row in check(*lines, *["1|bad"] * 12, text="Hi ((name))")]
    assert bits[:4] == [0, DUPLICATE.bit, COSTLY.bit, 0]
    assert (report.rows, report.good, report.segments) == (15, 3, 4)
    assert report.segments_by_country == {"+1": 2, "+49": 2}
    assert report.costly == {"✓": 1}


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("Hi ((Name)), see ((Phone (home)))", ["Name", "Phone (home)"]),
        ("（（名前）） (( b ))((b))", ["名前", "b"]),
        ("so sad :(( but :))", []),
        ("f((x\n))", []),
    ],
)
def test_fields_of_a_text(text: str, fields: list[str]) -> None:
    template = TextTemplate(text)
    assert list(template.fields.values()) == fields


@pytest.mark.parametrize("text", ["Hi ((name", "Hi (( ))", "Hi ((na\nme))"])
def test_a_text_with_a_broken_field_is_refused(text: str) -> None:
    assert TextTemplate(text).find_problem()


@pytest.mark.parametrize("text", ["Hi ((name))", "Sad :((", "see (ours (new))"])
def test_brackets_alone_are_no_problem(text: str) -> None:
    assert TextTemplate(text).find_problem() is None


def test_the_notation_of_other_programs_is_noticed_if_a_column_has_that_name() -> None:
    template = TextTemplate("Hi {{name}} (and you) [name] <street> %due% (Name) ((name))")
    names = ["Name", "street", "due"]
    assert template.find_other_notation(names) == [
        "{{name}}",
        "[name]",
        "<street>",
        "%due%",
        "(Name)",
    ]


def test_a_filled_text_holds_no_field() -> None:
    assert find_unfilled_field("Hi ((name))") == "((name))"
    assert find_unfilled_field("Hi (Ann) :)) ((") is None


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (f"{NUMBER}, +1 415 555 2671; 415-555-2672", 3),
        (f"{NUMBER}\n{NUMBER}", 2),
        (f"12\n{NUMBER}\nAnn", 3),
        (f"Ann: {NUMBER}\nBo", 2),
    ],
)
def test_pasted_numbers_are_a_line_each(text: str, lines: int) -> None:
    assert len((find_lines(text, US) or "").splitlines()) == lines


def read_pasted(text: str, tmp_path: Path) -> list[tuple[int, list[str]]]:
    (path := tmp_path / "lines").write_text(find_lines(text, "DE") or "")
    _columns, rows = read_lines(path, TextTemplate("Hi"))
    return [(row.number, list(row.cells)) for row in rows]


@pytest.mark.parametrize(
    ("line", "row"),
    [
        ("Ann 0151 23456730", ["0151 23456730", "Ann"]),
        ("Ann: 0151/23456730, Smith", ["0151/23456730", "Ann Smith"]),
        ("Smith, Ann <+49 (151) 23456730>", ["+49 (151) 23456730", "Smith, Ann"]),
        ("(0151) 234567-30 Zoë (mobile)", ["(0151) 234567-30", "Zoë (mobile)"]),
        ("Ann\u00a00151\u00a023456730", ["0151\u00a023456730", "Ann"]),
        ("0151 23456730", ["0151 23456730"]),
    ],
)
def test_pasted_name_and_number_become_two_cells(line: str, row: list[str], tmp_path: Path) -> None:
    pasted = f"{line}\n\nBo 0152 23456731"
    assert read_pasted(pasted, tmp_path) == [(1, row), (3, ["0152 23456731", "Bo"])]


@pytest.mark.parametrize(
    "line",
    [
        "Ann 0151 23456730, Bo 0152 23456731",
        "Ann 0151 23456730 0152 23456731",
        "Ann 0151 23456730 (2 children)",
        "Ann 0151 23456730, flat 3",
        "Ann 3 0151 23456730",
        "Ann0151 23456730",
        "Ann 0151 23456730b",
        "Ann",
    ],
)
def test_pasted_line_without_one_certain_number_is_refused(line: str, tmp_path: Path) -> None:
    rows = read_pasted(f"{line}\nBo 0152 23456731\nCy 0152 23456732", tmp_path)
    with pytest.raises(PhoneNumberError):
        parse_recipient(rows[0][1][0], "DE")


def test_pasted_table_stays_one() -> None:
    for text in (
        "phone,name\n0151 23456730,Ann",
        "Ann\t0151 23456730\nBo\t0152 23456731x",
        "0151 23456730,Ann",
        "0151 23456730,0152 23456731\n0151 23456730,0152 23456731",
        "Mobile\n0151 23456730\n0152 23456731",
    ):
        assert find_lines(text, "DE") is None


def test_a_column_without_a_heading_is_named_by_its_letter() -> None:
    lines = [f"{NUMBER}|Ann|x"] * 3
    assert match("phone|name", *lines).names == ["phone", "name", "Column C"]
