"""Numbers beside a column that tells their country."""

import pytest
from flask import Flask
from sqlalchemy import update

from smstracker.batches.resending import create_resend_batch
from smstracker.extensions import db, writing
from smstracker.models import Batch, Message
from tests.batches import check, queue, read_batch, read_rows, ready_batch, start
from tests.clients import Person, words
from tests.tables import check as check_rows

BEGIN = "Begin the number with + and the country code."
FILE = "Country code,Phone number\n91,9198765432\n1,4155550111\n44,7733123456"
NUMBERS = ["+919198765432", "+14155550111", "+447733123456"]


def recipient(heading: str, cell: str, typed: str, region: str = "US") -> str | None:
    """The number of a row with this cell beside what is typed, above rows that can be read."""
    rows = [f"Ann|{cell}|{typed}", *["Bo|1|+14155550111"] * 2]
    return check_rows(f"name|{heading}|Phone number", *rows, region=region)[0].recipient


@pytest.mark.parametrize(
    "heading",
    [
        *("Country code", "country_code", "CountryCode", "Dial code", "ISD", "Phone country code"),
        *("Landesvorwahl", "Ländercode", "Código de país", "国番号", "Prefix", "Country", "CC"),
    ],
)
@pytest.mark.parametrize("cell", ["91", "+91", "0091", "91.0", "India (+91)"])
def test_a_country_code_beside_a_number_is_the_code_of_the_number(heading: str, cell: str) -> None:
    assert recipient(heading, cell, "9198765432") == "+919198765432"


@pytest.mark.parametrize(
    ("cell", "typed", "region", "expected"),
    [
        ("44", "07733123456", "US", "+447733123456"),
        ("44", "+919198765432", "US", "+919198765432"),  # typed in full
        ("91", "919198765432", "US", "+919198765432"),
        ("91", "00919198765432", "US", "+919198765432"),
        ("1", "4155550111", "US", "+14155550111"),
        ("", "4155550111", "US", "+14155550111"),
        ("1", "4155550111", "DE", "+14155550111"),
        ("43", "0664 1234567", "DE", "+436641234567"),
        ("DE", "0151 23456789", "DE", "+4915123456789"),
        ("Austria", "0043 664 1234567", "DE", "+436641234567"),
        ("UK", "+447733123456", "DE", "+447733123456"),
    ],
)
def test_a_number_that_fits_its_country_is_taken(
    cell: str, typed: str, region: str, expected: str
) -> None:
    assert recipient("Country code", cell, typed, region) == expected


@pytest.mark.parametrize(
    ("cell", "typed"),
    [
        ("33", "1133445566"),  # no number of that country
        ("49", "491512345678"),  # the code may be there already
        ("India", "9198765432"),  # perhaps only where somebody lives
        ("GB", "7733123456"),
        ("49 151", "2345678"),
        ("Ruritania", "9198765432"),
    ],
)
def test_a_number_that_its_country_contradicts_is_refused(cell: str, typed: str) -> None:
    row = check_rows("name|Country code|Phone number", f"Ann|{cell}|{typed}")[0]
    assert row.recipient is None
    assert row.problem is not None
    assert row.problem.endswith(BEGIN)


def test_two_columns_that_tell_two_countries_are_a_contradiction() -> None:
    rows = check_rows("phone|Country|Dial code", "9198765432|India|91", "9198765432|India|44")
    assert [row.recipient for row in rows] == ["+919198765432", None]
    told = "Country “India”, Dial code “44”"
    reason = f"phone: The row says {told}, and the number has no country code."
    assert rows[1].problem == f"{reason} {BEGIN}"


@pytest.mark.parametrize(
    ("heading", "cell"),
    [("Prefix", "Mr"), ("Prefix", "Dr."), ("Land", "Österreich"), ("Area code", "91")],
)
def test_columns_of_other_things_tell_no_country(heading: str, cell: str) -> None:
    rows = check_rows(f"name|{heading}|phone", f"Ann|{cell}|4155550111")
    assert rows[0].recipient == "+14155550111"


def test_numbers_with_their_country_code_are_no_column_of_codes() -> None:
    heading = "Phone number with country code"
    assert check_rows(f"name|{heading}", "Ann|+919198765432")[0].recipient == "+919198765432"


def test_the_country_code_of_a_column_is_told_before_anything_is_sent(
    app: Flask, alice: Person
) -> None:
    batch_id = ready_batch(alice, FILE, "Hi")
    assert [row.recipient for row in read_rows(app, batch_id)] == NUMBERS
    shown = words(alice.client.get(f"/batches/{read_batch(app, batch_id).public_id}").text)
    assert "2 numbers without + got the country code from “Country code”." in shown


def test_a_batch_that_sends_again_keeps_the_numbers(app: Flask, alice: Person) -> None:
    batch_id = ready_batch(alice, FILE, "Hi")
    start(app, batch_id)
    queue(app)
    with app.app_context(), writing():
        failed = {"status": "undelivered", "error_code": "30003"}
        db.session.execute(update(Message).values(failed))
    queue(app)
    with app.app_context(), writing():
        assert create_resend_batch(Batch.lock(batch_id))
    check(app)
    assert [row.recipient for row in read_rows(app, batch_id + 1)] == NUMBERS
