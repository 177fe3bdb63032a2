"""A number is found in a text however people write it, and a longer one is another."""

import json
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from phonenumbers import format_number, parse

from smstracker.privacy.number_text import WrittenNumber

PIECES = [
    *("+", " ", "-", "(", ")", "/", ",", "x", ".", "\n", "%20", "&#32;", "\u0661"),
    *("0", "00", "011", "1", "44", "49", "+1", "415", "555", "0123", "23456"),
    *("2079460123", "4155550123", "1701234567"),
]
US, GB, DE, FR = "+14155550123", "+442079460123", "+491701234567", "+33612345678"
HELD = [
    (US, "+14155550123"),
    (US, "4155550123"),
    (US, "(415) 555-0123"),
    (US, "Call (415) 555-0123 or come by"),
    (US, "4155550123 ext 5"),
    (US, "415.555.0123x12"),
    (US, "1-415-555-0123"),
    (US, "011 1 415 555 0123"),
    (US, "two: 415 555 0199, 415 555 0123"),
    (US, "on 2026-11-28 415-555-0123"),
    (US, "tel:+1-415-555-0123"),
    (US, "\u202a+1\xa0415\xa0555\u20110123\u202c"),
    (US, "\u0664\u0661\u0665\u0665\u0665\u0665\u0660\u0661\u0662\u0663"),
    (US, "４１５－５５５－０１２３"),
    (US, "4155550123.0"),
    (GB, "+44 (0)20 7946 0123"),
    (GB, "020 7946 0123"),
    (GB, "0044 20 7946 0123"),
    (DE, "0170/123 45 67"),
    (DE, "mobil: 0170-1234567."),
    (DE, "+49 0170 1234567"),
    (FR, "06 12 34 56 78"),
    (FR, "0033 6 12 34 56 78"),
    ("+79161234567", "8 (916) 123-45-67"),
    ("+390612345678", "06 1234 5678"),
    ("+29023456", "Dial +290 23456"),
    ("+3545551234", "Call 555-1234"),
    ("+3545551234", "+1 415-555-0199, 555-1234"),
    (US, "+14155550100 / 4155550123"),
    (US, "4155550100/4155550123"),
    (US, "+49 30 123456 / 415-555-0123"),
    (US, "File 0042 (415) 555-0123"),
    (US, "No. 00712 415 555 0123"),
    (US, "17/415-555-0123"),
    (US, "415-555-0123 2026-11-28"),
    (US, "Call 415\t555\t0123 now"),
    (US, "Call 415\u00b7555\u00b70123"),
    (US, "Call 415,555'0123"),
    (US, "Call 415_555|0123"),
    (US, "Call [415] 555 -  0123"),
    (US, "Call *415* 555:0123"),
    (US, "Call 415&nbsp;555&nbsp;0123"),
    (US, "4.155550123E9"),
    (US, "+14155550123 50 EUR"),
    (US, "+14155550123 (34)"),
    (US, "+14155550123 94110 San Francisco"),
    (US, "4155550123-5"),
    (US, "(415) 555-0123 2nd floor"),
    (US, "+1 415-555-0123 14:30"),
    (US, "14:30 (415) 555-0123"),
    (US, "Box 44 (415) 555-0123"),
    (US, "00 1 415-555-0123"),
    ("+12015550123", "010 1 201-555-0123"),
    (GB, "9:30 020 7946 0123"),
    (GB, "+44 20 7946 0123 2nd floor"),
    (DE, "+491701234567 89"),
    (US, "+491701234567 (415) 555-0123"),
    (US, "+14155550100 +14155550101 415 555 0123"),
    (FR, "Flat 4 33612345678"),
    ("+4930123456", "+49 30 123 456.00"),
    ("+3546181930", "Call +354 0 618 1930"),
    ("+4534219779", "34 21 97 79 2026-11-28"),
    ("+29023456", "Dial 0 290 23456"),
    (FR, "5 +33(0)/6123 45) 678 12"),
    (US, "\ud800 415&nbsp;555&nbsp;0123"),
]
OTHERS = [
    (US, "+24155550123"),
    (US, "41555501234"),
    (US, "94155550123"),
    (US, "+44 415 555 0123"),
    (US, "0044 415 555 0123"),
    (US, "415 555 0124"),
    (US, "415 and 555 and 0123"),
    (US, "415\n555\n0123"),
    (US, "0123"),
    (GB, "+1 207 946 0123"),
    (US, "49 415 555 0123"),
    (US, "2 415 555 0123 4"),
    ("+3545551234", "+1 415-555-1234"),
    ("+3545551234", "(415) 555-1234"),
    ("+4755501234", "0161 555 01234"),
    ("+6565551234", "020 6555 1234"),
    ("+49301234567", "301 23 45 67 89"),
    ("+4915112345678", "+43 15112345678"),
    ("+9607712345", "202-771-2345"),
    ("+29023456", "Order 23456"),
    ("+3546181930", "+49 1512 6181930"),
    ("+3546181930", "0049 1512 6181930"),
    ("+4534219779", "(0342) 197 79 53"),
    ("+4740612896", "0011 33 6 40 61 28 96"),
    ("+15062868761", "+49 15062 868761"),
    ("+4930123456", "030 123 456 78"),
    (FR, "+86 -- 1 -- 3 -- 6 12 34 56 78"),
    (US, ""),
    (US, None),
]


@pytest.mark.parametrize(("number", "text"), HELD)
def test_number_is_found_as_people_write_it(number: str, text: str) -> None:
    assert WrittenNumber(number).matches(text)
    assert WrittenNumber(number).may_be_in_json(json.dumps([text]))
    if text.isascii():
        assert WrittenNumber(number).matches_bytes(f"text {quote(text)}".encode())
        assert WrittenNumber(number).matches_bytes(f"To={quote_plus(text)}&A=B".encode())


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
@settings(max_examples=300)
def test_any_text_is_read(text: str) -> None:
    """A stranger may send it; with an error nobody could be erased any more."""
    for number in (US, GB, DE, "+29023456"):
        WrittenNumber(number).matches(text)


def test_text_that_is_full_of_the_number_is_not_read_to_its_end() -> None:
    assert WrittenNumber(US).matches("41555501234 " * 100)
    assert not WrittenNumber(US).matches("41555501234 " * 3)


def test_many_digits_before_the_number_are_read_once() -> None:
    assert WrittenNumber(US).matches(f"{'1' * 50}x4155550123")  # else it takes years


def test_number_is_found_in_an_encoded_text() -> None:
    assert WrittenNumber(US).matches("Call 415%20555%200123")


def test_cell_may_be_a_short_number_without_its_country_code() -> None:
    assert WrittenNumber("+29023456").matches("23-456")
    assert WrittenNumber("+3546181930").matches("00618-1930")


@pytest.mark.parametrize(("number", "text"), OTHERS)
def test_other_digits_are_not_taken_for_the_number(number: str, text: str | None) -> None:
    assert not WrittenNumber(number).matches(text)
    assert not WrittenNumber(number).matches_bytes(quote(text or "").encode())


@pytest.mark.parametrize("number", [US, GB, DE, FR, "+390612345678", "+5511987654321"])
@pytest.mark.parametrize("style", range(4))
def test_number_is_found_as_each_country_formats_it(number: str, style: int) -> None:
    assert WrittenNumber(number).matches(f"Ask {format_number(parse(number), style)}.")
