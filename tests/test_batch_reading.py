"""How a file was read is told before it is sent, and people can have it read in another way."""

import csv
import io
from collections.abc import Callable

import pytest
from flask import Flask

from smstracker.batches.uploads import read_again
from smstracker.extensions import writing
from smstracker.models import Batch
from smstracker.models.batches import BatchState
from tests import spreadsheets
from tests.batches import check, number, people, read_batch, read_rows, ready_batch, start, upload
from tests.clients import Person, hidden, words

MakeApp = Callable[..., Flask]


def url(app: Flask, batch_id: int) -> str:
    return f"/batches/{read_batch(app, batch_id).public_id}"


def page(person: Person, batch_id: int) -> str:
    return words(person.client.get(url(person.app, batch_id)).text)


def read(person: Person, batch_id: int, **fields: str) -> None:
    """Press a button that has the file read in another way, and wait for the check."""
    form = person.client.get("/batches/new").text
    data = {"csrf_token": hidden(form, "csrf_token"), **fields}
    response = person.client.post(f"{url(person.app, batch_id)}/read", data=data)
    assert response.status_code == 303
    check(person.app)


def test_guessed_encoding_is_told_with_the_rows_that_show_it(app: Flask, alice: Person) -> None:
    content = people(40).encode() + b"\n" + number(9).encode() + b",Nu\xf1ez\n"
    batch_id = ready_batch(alice, content)
    shown = page(alice, batch_id)
    assert "They were read as Western European (Windows-1252)." in shown
    assert "Row Cells 42 Nuñez" in shown


def test_another_encoding_can_be_chosen(app: Flask, alice: Person) -> None:
    batch_id = ready_batch(alice, f"phone,name\n{number(1)},Nuńez\n".encode("cp1250"))
    assert "Hi Nuñez" in page(alice, batch_id)
    read(alice, batch_id, encoding="cp1250")
    shown = page(alice, batch_id)
    assert "Hi Nuńez" in shown
    assert "read as Central European (Windows-1250)" in shown


def test_encoding_that_does_not_fit_can_be_changed_back(app: Flask, alice: Person) -> None:
    batch_id = ready_batch(alice, f"phone,name\n{number(1)},Müller\n".encode("cp850"))
    assert "read as Western European (DOS)" in page(alice, batch_id)
    read(alice, batch_id, encoding="cp1252")
    assert read_batch(app, batch_id).state == BatchState.REFUSED
    shown = page(alice, batch_id)
    assert "Needs an answer" in shown
    assert "cannot be read as Western European (Windows-1252). Choose another" in shown
    read(alice, batch_id, encoding="cp850")
    assert "Hi Müller" in page(alice, batch_id)


def test_file_in_unicode_asks_nothing_about_its_letters(app: Flask, alice: Person) -> None:
    assert "Are these letters right?" not in page(alice, ready_batch(alice, people(1, "1,Zoë")))


def test_repeats_are_named_counted_and_left_out_if_people_say_so(app: Flask, alice: Person) -> None:
    batch_id = ready_batch(alice, people(2, f"{number(0)},Twice", f"{number(1)},Twice"))
    shown = page(alice, batch_id)
    assert "Messages 4, to 2 people" in shown
    assert "Send 4 messages to 2 people" in shown
    assert "2 rows repeat the number of an earlier row. Rows 4 , 5 ." in shown
    read(alice, batch_id, repeats="once")
    shown = page(alice, batch_id)
    assert "Send to 2 people" in shown
    assert "2 rows are left out Row Reason 4 Row 2 has the same number." in shown
    read(alice, batch_id, repeats="all")
    assert "Send 4 messages to 2 people" in page(alice, batch_id)


def test_rows_with_warnings_come_as_a_file(app: Flask, alice: Person) -> None:
    batch_id = ready_batch(alice, people(1, f"{number(0)},✓", "12,Bad", f"{number(3)},✓"))
    response = alice.client.get(f"{url(app, batch_id)}/warnings.csv")
    rows = list(csv.reader(io.StringIO(response.text.lstrip("\ufeff"))))
    assert [row[1:] for row in rows] == [
        ["name", "row", "warnings"],
        ["✓", "3", "duplicate, costs more"],
        ["✓", "5", "costs more"],
    ]


def test_file_without_headings_is_told_so(app: Flask, alice: Person) -> None:
    batch_id = ready_batch(alice, f"Ann,{number(1)}\nBo,{number(2)}", "Hi")
    shown = page(alice, batch_id)
    assert "No row names the columns. The first row of the file is a person" in shown
    batch_id = ready_batch(alice, f"Ann,{number(1)}\nBo,{number(2)}", "Hi ((name))")
    assert "The first row was taken for a person" in page(alice, batch_id)


def test_first_row_may_be_a_person(app: Flask, alice: Person) -> None:
    batch_id = ready_batch(alice, f"no number,Ann\n{number(1)},Bo\n{number(2)},Cy", "Hi")
    assert "Columns named by row 1" in page(alice, batch_id)
    read(alice, batch_id, first_row="person")
    assert [row.number for row in read_rows(app, batch_id)] == [1, 2, 3]
    assert "No row names the columns" in page(alice, batch_id)
    read(alice, batch_id, first_row="headings")
    assert [row.number for row in read_rows(app, batch_id)] == [2, 3]


def test_choice_that_leaves_a_field_without_a_column_can_be_undone(
    app: Flask, alice: Person
) -> None:
    batch_id = ready_batch(alice, people(2))
    read(alice, batch_id, first_row="person")
    assert "No column is called “name”" in page(alice, batch_id)
    read(alice, batch_id, first_row="headings")
    assert "Send to 2 people" in page(alice, batch_id)


def test_file_of_a_started_batch_is_not_read_again(app: Flask, alice: Person) -> None:
    batch_id = ready_batch(alice, people(2))
    start(app, batch_id)
    read(alice, batch_id, repeats="once")
    assert read_batch(app, batch_id).state == BatchState.RUNNING


def test_file_that_a_person_has_read_again_does_not_start_by_itself(
    app: Flask, alice: Person
) -> None:
    batch_id = upload(alice, people(2, f"{number(0)},Twice"))
    with app.app_context(), writing():
        Batch.lock(batch_id).start_count = 2
    check(app)
    with app.app_context(), writing():
        assert read_again(Batch.lock(batch_id), once_per_number=True)
    check(app)
    batch = read_batch(app, batch_id)
    assert (batch.state, batch.good_count) == (BatchState.READY, 2)


def test_file_of_others_is_not_read_again(app: Flask, alice: Person, bob: Person) -> None:
    path = url(app, ready_batch(alice, people(1)))
    form = bob.client.get("/batches/new").text
    data = {"csrf_token": hidden(form, "csrf_token"), "repeats": "once"}
    assert bob.client.post(f"{path}/read", data=data).status_code == 404
    assert bob.client.get(f"{path}/warnings.csv").status_code == 404


def test_question_is_no_failure(app: Flask, alice: Person) -> None:
    batch_id = ready_batch(alice, f"phone,mobile\n{number(1)},{number(2)}", "Hi")
    shown = page(alice, batch_id)
    assert "Needs an answer" in shown
    assert "Nothing can be sent yet" not in shown
    assert "Cannot be sent" not in words(alice.client.get("/batches").text)


def test_file_of_bad_rows_shows_their_reasons(app: Flask, alice: Person) -> None:
    shown = page(alice, ready_batch(alice, "phone\n12\n13", "Hi"))
    assert "Row Reason 2 phone: " in shown


def test_formula_without_a_result_is_explained(app: Flask, alice: Person) -> None:
    formula = '<c ><f>"+1"&amp;A2</f><v></v></c>'
    rows: spreadsheets.Rows = [
        ["phone", "name"],
        [formula, "Ann"],
        [number(1), "Bo"],
        [number(2), formula],
    ]
    batch_id = ready_batch(alice, spreadsheets.xlsx({"People": rows}))
    problems = [row.problem for row in read_rows(app, batch_id)]
    assert str(problems[0]).startswith("phone: The result of the formula is not in the file.")
    assert problems[1] is None
    assert str(problems[2]).startswith("name: The result of the formula is not in the file.")


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (58, "less than a minute"),
        (60, "less than a minute"),
        (62, "about 1 minute"),
        (400, "about 3 minutes"),
    ],
)
def test_time_it_takes_is_told_before(make_app: MakeApp, count: int, words: str) -> None:
    alice = Person.signed_in(make_app(SEND_PER_SECOND="2"), "alice@example.org")
    shown = page(alice, ready_batch(alice, people(count)))
    assert f"Takes {words}, at 2 messages a second" in shown


def test_limit_of_the_day_is_told_instead_of_a_button(make_app: MakeApp) -> None:
    alice = Person.signed_in(make_app(SEND_LIMIT_PER_DAY="5"), "alice@example.org")
    batch_id = ready_batch(alice, people(6))
    shown = page(alice, batch_id)
    assert "You can send 5 messages a day, and this batch has 6." in shown
    assert "Type the number of messages" not in shown


def test_note_on_dates_is_left_out_if_the_text_has_no_fields(app: Flask, alice: Person) -> None:
    content = spreadsheets.xlsx({"People": [["phone", "name"], [number(1), "Ann"]]})
    assert "Dates and numbers are written plainly" in page(alice, ready_batch(alice, content))
    assert "Dates and numbers" not in page(alice, ready_batch(alice, content, "Hi"))
