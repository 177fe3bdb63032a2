"""Numbers as people type them: the right one, or a reason."""

import re

import pytest

from smstracker.sms.countries import describe_number
from smstracker.sms.numbering_plan import format_international
from smstracker.sms.phone_numbers import parse_recipient
from smstracker.sms.phone_spelling import PhoneNumberError


@pytest.mark.parametrize(
    ("typed", "region", "number"),
    [
        ("+1 555 867 5310", "US", "+15558675310"),
        ("(555) 867-5310", "US", "+15558675310"),
        ("555.867.5310", "US", "+15558675310"),
        ("14155552671", "US", "+14155552671"),
        ("4155552671", "US", "+14155552671"),
        ("011 44 7911 123456", "US", "+447911123456"),
        ("020 7946 0958", "GB", "+442079460958"),
        ("0044 20 7946 0958", "GB", "+442079460958"),
        ("+44 (0)20 7946 0958", "US", "+442079460958"),
        ("+49 0151 23456789", "US", "+4915123456789"),
        ("(+49) 151/23456789", "US", "+4915123456789"),
        ("06/12/34/56/78", "FR", "+33612345678"),
        ("06.12.34.56.00", "FR", "+33612345600"),
        ("0011 1 415 555 2671", "AU", "+14155552671"),
        ("8 10 49 151 23456789", "RU", "+4915123456789"),
        ("8~10 49 151 23456789", "RU", "+4915123456789"),
        ("06 20 123 4567", "HU", "+36201234567"),
        # Without a trunk prefix, or with one that nobody writes.
        ("612 34 56 78", "ES", "+34612345678"),
        ("690 234 567", "ES", "+34690234567"),
        ("347 123 4567", "IT", "+393471234567"),
        ("06 1234 5678", "IT", "+390612345678"),
        ("49 12 34 56", "DK", "+4549123456"),
        ("512 345 678", "PL", "+48512345678"),
        ("11 96123-4567", "BR", "+5511961234567"),
        ("138 0013 8000", "CN", "+8613800138000"),
        ("8 029 491 19 11", "BY", "+375294911911"),
        ("8 (029) 491-19-11", "BY", "+375294911911"),
        ("80291234567", "BY", "+375291234567"),
        ("8 29 491 19 11", "BY", "+375294911911"),
    ],
)
def test_number_in_the_spelling_of_its_country_is_taken(
    typed: str, region: str, number: str
) -> None:
    assert parse_recipient(typed, region) == number


@pytest.mark.parametrize(
    "typed",
    [
        "tel:+1-415-555-2671",
        "TEL: +14155552671",
        "sms:+14155552671",
        "'+14155552671",
        "“+1 415 555 2671”",
        "«+1 415 555 2671»",
        "\t\u3000+14155552671\r\n",
        "\u202a+1\xa0415\u2011555\u20132671\u202c",
        "+1\ufe0f415\u200e555\u20602671\ufeff",
        "+1\u00ad415\U000e0100555\U000e00412671",
        "＋１（４１５）５５５－２６７１",
        "٤١٥٥٥٥٢٦٧١",
        "+१४१५५५५२६७१",
        "+1 415 555 2671;",
        "“+1 415 555 2671”, ",
        "| +1 415 555 2671 |",
        "+1 415 555 2671、",
    ],
)
def test_what_is_trimmed_changes_no_digit(typed: str) -> None:
    assert parse_recipient(typed, "US") == "+14155552671"


@pytest.mark.parametrize(
    ("typed", "region", "number"),
    [
        ("1-800-FLOWERS", "US", "+18003569377"),
        ("+1 (800) flowers", "DE", "+18003569377"),
        ("800 555 TAXI", "CA", "+18005558294"),
    ],
)
def test_vanity_number_of_north_america_is_taken_in_full_length(
    typed: str, region: str, number: str
) -> None:
    assert parse_recipient(typed, region) == number


@pytest.mark.parametrize(
    ("typed", "region"),
    [
        ("1-800-FLOWERS", "DE"),
        ("+49 800 FLOWERS", "US"),
        ("1-800-FLOWERSX", "US"),
        ("FLOWERS", "US"),
        ("415-555-267O", "US"),
        ("415-555-OOOO", "US"),
        ("4I5-555-2671", "US"),
        ("+49 151 2345678O", "US"),
        ("+49 l51 2345678", "US"),
        ("1-800-FLOWERſ", "US"),
        ("+49 151 2345678О", "US"),  # Cyrillic
        ("+1 415 555 2671 a", "US"),
        ("hello", "US"),
    ],
)
def test_letters_are_refused(typed: str, region: str) -> None:
    with pytest.raises(PhoneNumberError, match=r"letter|not a phone number"):
        parse_recipient(typed, region)


@pytest.mark.parametrize(
    "typed",
    [
        "+14155552671, +14155552672",
        "+14155552671;+14155552672",
        "+14155552671\n+14155552672",
        "+14155552671\u2028+14155552672",
        "4155552671 or 4155552672",
        "+1415555+2671",
        "089/123456/57",
        "0151 23456789 (80)",
        "0151 23456789-80",
        "0151 23456789/2",
        "0151 23456789 to 80",
        "0151 23456789 bis 80",
        "0151 23456789 80",
        "++14155552671",
    ],
)
def test_what_could_be_a_second_number_is_refused(typed: str) -> None:
    with pytest.raises(PhoneNumberError, match="more than one number"):
        parse_recipient(typed, "DE")


@pytest.mark.parametrize(
    "typed",
    [
        "+491512345678.0",
        "+491512345678.00",
        "491512345678.5",
        "+491512345678,0",
        "+49 1512345678.-0",
    ],
)
def test_decimal_number_of_a_spreadsheet_is_refused(typed: str) -> None:
    with pytest.raises(PhoneNumberError, match="decimal"):
        parse_recipient(typed, "DE")


@pytest.mark.parametrize("typed", ["4.91512E+12", "4,91512e12", "+4E+12"])
def test_number_that_a_spreadsheet_has_shortened_is_refused(typed: str) -> None:
    with pytest.raises(PhoneNumberError, match="shortened"):
        parse_recipient(typed, "DE")


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("whatsapp:+14155552671", "WhatsApp"),
        ("RCS:acme", "RCS"),
        ("messenger:1234567", "Messenger"),
    ],
)
def test_address_of_another_channel_is_refused_by_its_name(typed: str, name: str) -> None:
    with pytest.raises(PhoneNumberError, match=f"SMS and MMS, not {name}"):
        parse_recipient(typed, "US")


@pytest.mark.parametrize(
    ("typed", "region", "problem"),
    [
        ("", "US", "Type a phone number"),
        (" “” \u200b", "US", "Type a phone number"),
        ("+", "US", "not a phone number"),
        ("+999 123456789", "US", "No country has that code"),
        ("+0049 151 23456789", "US", "No country has that code"),
        ("12", "US", "too short"),
        ("+1 555 867", "US", "too short"),
        ("+1 555 867 5310 99999", "US", "too long"),
        ("+49 1512 3456789 1234", "US", "too long"),
        ("9" * 400, "US", "too long"),
        ("65 9123 4567", "SG", "may begin with the country code. Begin with \\+"),
        ("415-555-2671/2", "US", "more than one number"),
        ("415-555-2671 to 2673", "US", "more than one number"),
        ("4155552671 tomorrow", "US", "There are letters"),
        ("²155552671", "US", "no phone number has: “²”"),
        ("tel:%2B14155552671", "US", "has %2B in place of the \\+"),
        ("8 0 916 123 45 67", "RU", "too long for Russia"),
        ("867-5310", "US", "area code is missing"),
        ("+1 555 867 5310 ext. 12", "US", "extension"),
        ("+1 555 867 5310 x12", "US", "extension"),
        ("tel:+1-201-555-0123;ext=3", "US", "extension"),
        ("tel:2015550123?body=x", "US", "more than a phone number"),
        ("Phone: 4155552671", "US", "without “Phone:”"),
        ("415+5552671", "US", "belongs at the beginning"),
        ("*67 4155552671", "US", "“\\*”"),
        ("+1٤155552671", "US", "several scripts"),
        ("+39 (0)6 1234 5678", "US", "not clear whether the \\(0\\)"),
        ("+49 151 (0) 2345678", "US", "not clear whether the \\(0\\)"),
        ("+49 (0)0151 2345678", "US", "has a 0 there"),
        ("+1 0415 555 267", "US", "no area code begins with 0"),
        (";", "US", "Who is it for"),
    ],
)
def test_refusal_says_the_reason(typed: str, region: str, problem: str) -> None:
    with pytest.raises(PhoneNumberError, match=problem):
        parse_recipient(typed, region)


@pytest.mark.parametrize(
    ("typed", "region", "problem"),
    [
        ("0151 23456789", "US", "not a number of the United States or Canada. .* as in \\+49"),
        ("07911 123456", "CA", "not a number of the United States or Canada. "),
        ("0415 555 267", "US", "not a number of the United States or Canada. "),
        ("555 867 53101", "US", "too long for the United States or Canada. .* as in \\+49"),
        ("0151 23456789012", "DE", "too long for Germany. .* as in \\+44"),
        ("020 7946 09588", "GB", "too long for the United Kingdom. "),
        ("8-26 44 7911 123456", "RU", "too long for Russia. "),
        ("01033 089 123456", "DE", "too long for Germany. "),
        ("01033089123456", "DE", "too long for Germany. "),
        ("0347 1234567", "IT", "too long for Italy. Write it as \\+39 347 123 4567. For another"),
        ("0612 34 56 78", "ES", "too long for Spain. Write it as \\+34 612 34 56 78. For another"),
    ],
)
def test_number_that_no_number_of_the_region_is_leads_to_the_country_code(
    typed: str, region: str, problem: str
) -> None:
    with pytest.raises(PhoneNumberError, match=problem):
        parse_recipient(typed, region)


@pytest.mark.parametrize(
    ("typed", "region"),
    [("911", "US"), ("72345", "US"), ("112", "DE"), ("999", "GB"), ("000", "AU"), ("36180", "FR")],
)
def test_short_code_or_emergency_number_is_refused_as_such(typed: str, region: str) -> None:
    with pytest.raises(PhoneNumberError, match="to short codes and emergency numbers"):
        parse_recipient(typed, region)


def test_short_number_of_a_small_country_is_taken() -> None:
    assert parse_recipient("22 12 34", "GL") == "+299221234"


@pytest.mark.parametrize(
    ("typed", "region", "prefix"),
    [
        ("4915123456789", "DE", "0"),
        ("15123456789", "DE", "0"),
        ("04915123456789", "DE", "0"),
        ("7911123456", "GB", "0"),
        ("612345678", "FR", "0"),
        ("79161234567", "RU", "8"),
        ("36201234567", "HU", "06"),
    ],
)
def test_number_whose_plus_may_be_lost_is_refused(typed: str, region: str, prefix: str) -> None:
    with pytest.raises(
        PhoneNumberError, match=f"egin with \\+ and the country code, or with {prefix}: "
    ):
        parse_recipient(typed, region)


@pytest.mark.parametrize(
    ("typed", "region"),
    [
        ("393471234567", "IT"),
        ("447911123456", "IT"),
        ("33612345678", "LU"),
        ("48512345678", "PL"),
        ("13802238000", "CN"),  # also a mobile number of the United States
        ("5511987654321", "BR"),  # nobody writes 0 before a mobile number there
        ("573101234567", "CO"),
        ("6591234567", "US"),  # no number of the US, but one of Singapore
        ("447911123456", "US"),
        ("001 4155552671", "HK"),  # both "00 1 415…" and "001 41…" are dialled there
    ],
)
def test_number_whose_plus_may_be_lost_is_refused_without_a_trunk_prefix_that_nobody_writes(
    typed: str, region: str
) -> None:
    with pytest.raises(PhoneNumberError, match=r"Begin with \+ and the country code: \+"):
        parse_recipient(typed, region)


@pytest.mark.parametrize(
    ("typed", "region", "shown"),
    [
        ("+375 (8-029) 491-19-11", "US", "+375 29 491-19-11"),
        ("+375 8 029 123 45 67", "BY", "+375 29 123-45-67"),
        ("+375 029 491 19 11", "US", "+375 29 491-19-11"),
        ("+7 8 916 123 45 67", "US", "+7 916 123-45-67"),
        ("+7 8 701 234 5678", "KZ", "+7 701 234 5678"),
        ("+36 06 20 123 4567", "US", "+36 20 123 4567"),
        ("+370 8 612 34567", "US", "+370 612 34567"),
        ("+993 8 66 123456", "US", "+993 66 123456"),
        ("+1 1 415 555 2671", "US", "+1 415-555-2671"),
        ("+52 1 55 1234 5678", "US", "+52 55 1234 5678"),
        ("+52 01 55 1234 5678", "US", "+52 55 1234 5678"),
        ("044 55 1234 5678", "MX", "+52 55 1234 5678"),
        ("03 310 123 4567", "CO", "+57 310 1234567"),
        ("0 21 11 98765-4321", "BR", "+55 11 98765-4321"),
        ("011 15-2345-6789", "AR", "+54 9 11 2345-6789"),
        ("+54 11 15-2345-6789", "US", "+54 9 11 2345-6789"),
    ],
)
def test_number_in_the_form_for_calls_within_its_country_is_refused_and_the_other_form_shown(
    typed: str, region: str, shown: str
) -> None:
    with pytest.raises(PhoneNumberError, match="for calls within the country") as refused:
        parse_recipient(typed, region)
    assert str(refused.value).endswith(f" Write it as {shown}.")
    parse_recipient(shown, region)


@pytest.mark.parametrize(
    ("typed", "region", "sentence"),
    [
        ("0xx11 98765-4321", "BR", "“xx” stands for the code of a carrier"),
        ("0 xx 11 98765-4321", "BR", "“xx” stands for the code of a carrier"),
        ("(0XX11) 98765-4321", "BR", "“XX” stands for the code of a carrier"),
        ("(0**11) 98765-4321", "BR", "“**” stands for the code of a carrier"),
        ("+55 0xx11 98765-4321", "US", "“xx” stands for the code of a carrier"),
        ("00xx55 11 98765-4321", "BR", "“xx” stands for the code of a carrier"),
    ],
)
def test_notation_that_nobody_dials_is_refused_and_the_number_shown(
    typed: str, region: str, sentence: str
) -> None:
    with pytest.raises(PhoneNumberError) as refused:
        parse_recipient(typed, region)
    assert str(refused.value) == f"{sentence} and is left out. Write it as +55 11 98765-4321."


@pytest.mark.parametrize(
    ("typed", "region"),
    [("0xx11 98765-4321", "US"), ("(xx) 98765-4321", "BR"), ("0xx 0151 2345678", "DE")],
)
def test_letters_in_the_place_of_digits_are_no_code_of_a_carrier(typed: str, region: str) -> None:
    with pytest.raises(PhoneNumberError, match=r"“xx” stands for other digits\. Type the number"):
        parse_recipient(typed, region)


@pytest.mark.parametrize(
    ("typed", "region", "number"),
    [
        ("009 44 7911 123456", "NG", "+447911123456"),
        ("001 1 415 555 2671", "KR", "+14155552671"),
        ("00700 44 7911 123456", "KR", "+447911123456"),
        ("00 1 415 555 2671", "IL", "+14155552671"),
        ("012 49 151 23456789", "IL", "+4915123456789"),
        ("0021 1 415 555 2671", "BR", "+14155552671"),
        ("010 1 415 555 2671", "JP", "+14155552671"),
        ("001 44 7911 123456", "SG", "+447911123456"),
        ("119 1 415 555 2671", "CU", "+14155552671"),
    ],
)
def test_international_prefix_of_the_region_becomes_the_plus(
    typed: str, region: str, number: str
) -> None:
    assert parse_recipient(typed, region) == number


@pytest.mark.parametrize(
    ("typed", "region", "shown"),
    [
        ("009 1 415 555 2671", "NG", "+1 415-555-2671 or +91 4155 552 671"),
        ("00 1 415 555 2671", "KR", "+1 415-555-2671"),  # or 001 and Switzerland, one digit short
        ("00 44 7911 123456", "US", "+44 7911 123456"),
        ("00 1 415 555 2671", "JP", "+1 415-555-2671"),
        ("0041 79 123 45 67", "BR", "+41 79 123 45 67"),  # 0041 is dialled there for the +
        ("994 50 123 45 67", "FI", "+994 50 123 45 67"),
        ("0 44 7911 123456", "WS", "+44 7911 123456"),
    ],
)
def test_international_prefix_that_may_be_another_one_is_refused_and_the_numbers_shown(
    typed: str, region: str, shown: str
) -> None:
    with pytest.raises(PhoneNumberError) as refused:
        parse_recipient(typed, region)
    assert str(refused.value).endswith(f" Begin with + and the country code: {shown}.")


@pytest.mark.parametrize(
    ("typed", "region", "shown"),
    [
        ("0692 12 34 56", "FR", "+262 692 12 34 56"),
        ("0639 01 23 45", "FR", "+262 639 01 23 45"),
        ("0690 12 34 56", "FR", "+590 690 12 34 56"),
        ("+33 694 40 12 34", "US", "+594 694 40 12 34"),
        ("+33 (0)696 12 34 56", "US", "+596 696 12 34 56"),
        ("0033 692 12 34 56", "FR", "+262 692 12 34 56"),
        ("06 12 34 56 78", "RE", "+33 6 12 34 56 78"),
        ("06 12 34 56 78", "PM", "+33 6 12 34 56 78"),
        ("+596 612 34 56 78", "MQ", "+33 6 12 34 56 78"),
        ("0694 40 12 34", "GP", "+594 694 40 12 34"),
        ("347 123 4567", "SM", "+39 347 123 4567"),
    ],
)
def test_number_with_another_code_of_a_shared_plan_is_refused_and_shown(
    typed: str, region: str, shown: str
) -> None:
    with pytest.raises(PhoneNumberError, match="have another country code") as refused:
        parse_recipient(typed, region)
    assert str(refused.value).endswith(f" Write it as {shown}.")
    parse_recipient(shown, region)


@pytest.mark.parametrize(
    ("typed", "region", "shown"),
    [
        ("+39 6 1234567", "US", "+39 06 123 4567 or +378 61 23 45 67"),
        ("6 1234567", "IT", "+39 06 123 4567 or +378 61 23 45 67"),
        ("0039 66 123456", "IT", "+39 06 612 3456 or +378 66 12 34 56"),
        ("+39 2 12345678", "US", "+39 02 1234 5678"),
        ("49 1234567", "IT", "+39 049 123 4567"),
        ("+378 549 882914", "US", "+378 0549 882914"),
    ],
)
def test_number_that_lacks_its_own_zero_is_refused_and_shown_with_it(
    typed: str, region: str, shown: str
) -> None:
    with pytest.raises(PhoneNumberError, match="no such number without a 0 in front") as refused:
        parse_recipient(typed, region)
    assert str(refused.value).endswith(f" Write it as {shown}.")


@pytest.mark.parametrize(
    ("typed", "region", "shown"),
    [
        ("0262 12 34 56", "FR", "+262 262 12 34 56"),
        ("692 12 34 56", "FR", "+262 692 12 34 56"),
        ("0508 41 12 34", "FR", "+508 41 12 34 or +33 5 08 41 12 34"),
    ],
)
def test_number_that_may_have_another_code_of_a_shared_plan_is_refused_and_shown(
    typed: str, region: str, shown: str
) -> None:
    with pytest.raises(PhoneNumberError, match=r"Begin with \+ and the") as refused:
        parse_recipient(typed, region)
    assert str(refused.value).endswith(f": {shown}.")


@pytest.mark.parametrize(
    ("typed", "region", "shown"),
    [
        ("+8 (495) 123-45-67", "RU", "+7 495 123-45-67 or +84 951 234 567"),
        ("+8 4 951234567", "RU", "+7 495 123-45-67 or +84 951 234 567"),
        ("+8-800-555-35-35", "RU", "+7 800 555-35-35 or 8 (800) 555-35-35"),
        ("+8 916 123 45 67", "RU", "+7 916 123-45-67 or 8 (916) 123-45-67"),
        ("+81079460238401", "RU", "+7 946 023-84-01 or 8 (946) 023-84-01"),
        ("+8 701 234 5678", "KZ", "+7 701 234 5678 or 8 (701) 234 5678"),
        ("+8 029 491 19 11", "BY", "+375 29 491-19-11 or 8 029 491-19-11"),
        ("+8 17 212 34 56", "BY", "+375 17 212-34-56 or 8 017 212-34-56"),
        ("+8 66 123456", "TM", "+993 66 123456 or 8 66 123456"),
        ("+8 612 34567", "LT", "+370 612 34567 or (0-612) 34567"),
        ("+8 067 123 45 67", "UA", "+380 67 123 4567 or 067 123 4567"),
        ("+8 90 123 45 67", "UZ", "+998 90 123 45 67"),
        ("+07911 123456", "GB", "+44 7911 123456 or 07911 123456"),
        ("+06 12 34 56 78", "FR", "+33 6 12 34 56 78 or 06 12 34 56 78"),
        ("+(0)151 23456789", "DE", "+49 1512 3456789 or 01512 3456789"),
        ("+06 30 123 4567", "HU", "+36 30 123 4567 or 06 30 123 4567"),
        ("+4155552671", "US", "+1 415-555-2671"),
        ("+612 34 56 78", "ES", "+34 612 34 56 78"),
        ("+138 0013 8000", "CN", "+86 138 0013 8000"),
        ("+011 44 7911 123456", "US", "+44 7911 123456"),
        ("+810 44 7911 123456", "RU", "+44 7911 123456"),
        ("+0044 7911 123456", "US", "+44 7911 123456"),
    ],
)
def test_plus_before_what_is_dialled_at_home_is_refused_and_the_numbers_shown(
    typed: str, region: str, shown: str
) -> None:
    with pytest.raises(PhoneNumberError) as refused:
        parse_recipient(typed, region)
    assert re.search(rf"egin with \+ and .+: {re.escape(shown)}\.$", str(refused.value))


@pytest.mark.parametrize(
    ("typed", "region", "number"),
    [
        ("+84951234567", "RU", "+84951234567"),  # as programs and address books write it
        ("+84 951 234 567", "RU", "+84951234567"),
        ("(+84) 951234567", "RU", "+84951234567"),
        ("+(84)951234567", "RU", "+84951234567"),
        ("8 10 84 951 234 567", "RU", "+84951234567"),
        ("+38 (067) 123 45 67", "UA", "+380671234567"),
        ("+4 0721 234 567", "RO", "+40721234567"),
        ("+2 010 1234 5678", "EG", "+201012345678"),
        ("+88 01712 345678", "BD", "+8801712345678"),
        ("+6 012 345 6789", "MY", "+60123456789"),
    ],
)
def test_plus_before_an_unmistakable_country_code_is_taken(
    typed: str, region: str, number: str
) -> None:
    assert parse_recipient(typed, region) == number


@pytest.mark.parametrize("typed", ["+81079460238401", "+49 0999 12345", "00 49 0999 12345"])
def test_zero_is_left_out_after_the_country_code_only_before_a_number_of_a_right_length(
    typed: str,
) -> None:
    with pytest.raises(PhoneNumberError, match="whether the 0 after the country code belongs"):
        parse_recipient(typed, "DE")


def test_zero_is_left_out_before_a_number_of_a_range_that_is_not_listed() -> None:
    assert parse_recipient("+44 07700 900123", "US") == "+447700900123"


@pytest.mark.parametrize(
    ("typed", "region", "number"),
    [
        ("090ー1234ー5678", "JP", "+819012345678"),
        ("090ｰ1234ｰ5678", "JP", "+819012345678"),
        ("０９０～１２３４～５６７８", "JP", "+819012345678"),
        ("090~1234\u301c5678", "JP", "+819012345678"),
        ("［090］1234-5678", "JP", "+819012345678"),
        ("+49 [0] 151 23456789", "US", "+4915123456789"),
        ("+49 ［0］ 151 23456789", "US", "+4915123456789"),
        ("[+49] 151 23456789", "US", "+4915123456789"),
    ],
)
def test_separators_of_east_asia_and_square_brackets_are_taken(
    typed: str, region: str, number: str
) -> None:
    assert parse_recipient(typed, region) == number


@pytest.mark.parametrize("typed", ["415-555-2671~2673", "415-555-2671～72", "089/123456～57"])
def test_range_of_numbers_is_refused(typed: str) -> None:
    with pytest.raises(PhoneNumberError, match="more than one number"):
        parse_recipient(typed, "DE" if typed.startswith("0") else "US")


@pytest.mark.parametrize(
    ("typed", "region", "shown"),
    [
        ("1 55 1234 5678", "MX", "+1 551-234-5678 or +52 55 1234 5678"),
        ("1 81 1234 5678", "MX", "+52 81 1234 5678"),
        ("5215512345678", "MX", "+52 55 1234 5678"),
        ("52 1 55 1234 5678", "US", "+52 55 1234 5678"),
        ("8 612 34567", "LT", "+370 612 34567 or (0-612) 34567"),
        ("861234567", "LT", "+370 612 34567 or (0-612) 34567"),
        ("370 8 612 34567", "LT", "+370 612 34567 or (0-612) 34567"),
        ("8 067 123 45 67", "UA", "+380 67 123 4567 or 067 123 4567"),
        ("8 67 123 45 67", "UA", "+380 67 123 4567 or 067 123 4567"),
        ("8 90 123 45 67", "UZ", "+998 90 123 45 67"),
        ("8 5123 4567", "EE", "+372 5123 4567"),
        ("54 11 15 2345 6789", "AR", "+54 9 11 2345-6789"),
        ("57 03 310 123 4567", "CO", "+57 310 1234567"),
        ("17951 138 0013 8000", "CN", "+86 138 0013 8000"),
        ("1831 0412 345 678", "AU", "+61 412 345 678 or 0412 345 678"),
        ("90 11 98765-4321", "BR", "+55 11 98765-4321"),
    ],
)
def test_number_behind_a_former_prefix_or_a_code_of_a_carrier_is_shown(
    typed: str, region: str, shown: str
) -> None:
    with pytest.raises(PhoneNumberError) as refused:
        parse_recipient(typed, region)
    assert re.search(rf"(country code.*:|Write it as) {re.escape(shown)}\.$", str(refused.value))


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        ("+4915123456789", "Germany: +49 1512 3456789"),
        ("+14155552671", "United States or Canada: +1 415-555-2671"),
        ("+18765551234", "Jamaica: +1 876-555-1234"),
        ("+447911123456", "United Kingdom, Guernsey or Jersey: +44 7911 123456"),
        ("+447624123456", "Isle of Man: +44 7624 123456"),
        ("+77012345678", "Kazakhstan: +7 701 234 5678"),
        ("+38344123456", "Kosovo: +383 44 123 456"),
        ("+80012345678", "No single country: +800 1234 5678"),
    ],
)
def test_country_is_named_without_claiming_what_digits_do_not_say(number: str, shown: str) -> None:
    assert describe_number(number) == shown


@pytest.mark.parametrize(
    "stored", ["MYBRAND", "12345", "whatsapp:+15558675310", "rcs:brand", "+4901512345678", ""]
)
def test_stored_value_that_is_no_number_stays_as_it_is(stored: str) -> None:
    assert format_international(stored).replace(" ", "") == stored


def test_stored_number_is_spaced_for_reading() -> None:
    assert format_international("+15558675310") == "+1 555-867-5310"
