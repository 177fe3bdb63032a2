"""Which column the numbers are taken from."""

import pytest
from flask import Flask

from smstracker.batches.phone_column import ColumnError
from smstracker.batches.uploads import choose
from smstracker.extensions import writing
from smstracker.models import Batch
from smstracker.models.batches import BatchState
from tests.batches import check, number, read_batch, read_rows, ready_batch
from tests.clients import Person, words
from tests.tables import NUMBER, match, phone_column

DE = "DE"


def choices(*lines: str) -> list[str]:
    """The columns that people are asked to choose from."""
    with pytest.raises(ColumnError) as error:
        match(*lines)
    return [*error.value.choices]


@pytest.mark.parametrize(
    "heading",
    [
        *("phone", "Phone number", "MOBILE", "tel.", "Ph. No", "Contact No.", "cellphone"),
        *("Cell #", "MobilePhone", "phone_1", "Telefon", "Handynummer", "Diensthandy", "Téléfono"),
        *("N° portable", "Número de celular", "Tlf", "Puhelin", "Matkapuhelinnumero", "No HP"),
        *(
            "SĐT",
            "Cep Telefonu",
            "Κινητό",
            "Номер телефона",
            "手机",
            "電話番号",
            "전화번호",
            "جوال",
        ),
        *("جوال", "رقم الجوال", "เบอร์", "मोबाइल नंबर"),
    ],
)
def test_the_numbers_are_in_the_column_that_is_called_so(heading: str) -> None:
    assert phone_column(f"id|{heading}|name", f"4155552671|{NUMBER}|Ann") == heading


def test_the_numbers_are_found_by_their_look_if_no_column_is_called_so() -> None:
    assert phone_column("who|contact", f"Ann|{NUMBER}", "Bo|(415) 555-2671") == "contact"


def test_dates_and_short_numbers_are_no_phone_numbers() -> None:
    assert phone_column("who|since|id", f"{NUMBER}|2026-01-15|12345") == "who"


def test_two_columns_of_numbers_are_a_question() -> None:
    lines = ("phone|mobile|name", f"{NUMBER}|+14155552671|Ann")
    assert choices(*lines) == ["phone", "mobile"]
    assert phone_column(*lines, phone="mobile") == "mobile"


def test_an_empty_second_column_or_one_of_other_words_asks_nothing() -> None:
    assert phone_column("phone|mobile|whatsapp", f"{NUMBER}||yes") == "phone"


def test_numbers_that_lost_their_plus_still_show_their_column() -> None:
    assert phone_column("who|contact", "Ann|15112345678", region=DE) == "contact"


def test_without_a_number_the_column_is_asked() -> None:
    with pytest.raises(ColumnError) as error:
        match("name|age", "Ann|31")
    assert error.value.choices == ["name", "age"]


@pytest.mark.parametrize(
    "heading",
    [
        *("Cancellation", "Automobile No", "Immobilien-Nr", "Microphone", "Mobility"),
        *("Number", "No.", "to", "SMS", "Nummer"),
    ],
)
def test_a_heading_that_is_not_surely_one_of_phones_is_asked_about(heading: str) -> None:
    assert choices(f"{heading}|name|contact", f"2125550123|Ann|{NUMBER}") == [heading, "contact"]
    assert phone_column(f"{heading}|name|contact", f"7|Ann|{NUMBER}") == "contact"
    assert phone_column(f"{heading}|name", f"{NUMBER}|Ann") == heading


def test_a_column_that_is_called_number_is_it_if_no_cell_looks_like_one() -> None:
    assert phone_column("number|name", "12345|Ann") == "number"


def test_a_column_of_phones_without_numbers_is_not_it_if_another_holds_some() -> None:
    assert phone_column("No mobile|name|contact", f"yes|Ann|{NUMBER}") == "contact"
    lines = ("phone|customer", "555123|4155552671")
    assert choices(*lines) == ["phone", "customer"]


@pytest.mark.parametrize("heading", ["Business Fax", "Telefax", "Faks", "เบอร์โทรสาร", "传真电话"])
def test_faxes_are_taken_only_by_who_chooses_them(heading: str) -> None:
    lines = (f"name|{heading}|mobile", f"Ann|{NUMBER}|")
    assert choices(*lines) == [heading]
    assert phone_column(*lines, phone=heading) == heading
    assert phone_column(lines[0], f"Ann|{NUMBER}|{NUMBER}") == "mobile"
    assert choices(f"name|{heading}|contact", f"Ann|{NUMBER}|{NUMBER}") == [heading, "contact"]


def test_a_file_without_a_good_number_offers_its_other_columns(app: Flask, alice: Person) -> None:
    batch_id = ready_batch(alice, f"phone,name,contact\n5550001,Ann,{number(2)}")
    batch = read_batch(app, batch_id)
    assert (batch.state, batch.choices) == (BatchState.REFUSED, ["contact"])
    shown = words(alice.client.get(f"/batches/{batch.public_id}").text)
    assert "Needs an answer No row has a number that can be sent to in the column “phone”." in shown
    with app.app_context(), writing():
        assert choose(Batch.lock(batch_id), phone_column="contact")
    check(app)
    assert [row.recipient for row in read_rows(app, batch_id)] == [number(2)]


def test_a_file_of_bad_rows_with_numbers_offers_no_other_column(app: Flask, alice: Person) -> None:
    batch = read_batch(app, ready_batch(alice, f"phone,name,id\n{number(1)},,12345678"))
    assert (batch.state, batch.choices) == (BatchState.REFUSED, [])
