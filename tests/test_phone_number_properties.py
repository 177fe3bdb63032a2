"""For any text: what is accepted holds exactly the digits that were typed, in their order."""

import re
import unicodedata
from dataclasses import dataclass

import phonenumbers
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from phonenumbers import PhoneMetadata

from smstracker.sms.numbering_plan import format_international
from smstracker.sms.phone_numbers import parse_recipient
from smstracker.sms.phone_spelling import PhoneNumberError


@dataclass(frozen=True)
class Dialling:
    """What is dialled in a region, written down here by hand; `abroad` is a pattern."""

    code: str
    trunk: str = ""
    abroad: str = "00"


REGIONS = {
    "AR": Dialling("54", "0"),
    "AT": Dialling("43", "0"),
    "AU": Dialling("61", "0", r"001[14-9]"),
    "BR": Dialling("55", "0", r"00[1-69]\d"),
    "BY": Dialling("375", "8", "810"),
    "CA": Dialling("1", "1", "011"),
    "CH": Dialling("41", "0"),
    "CN": Dialling("86", "0", r"00|1(?:[12]\d|79)\d\d00"),
    "DE": Dialling("49", "0"),
    "DK": Dialling("45"),
    "ES": Dialling("34"),
    "FR": Dialling("33", "0"),
    "GB": Dialling("44", "0"),
    "HK": Dialling("852", "", r"00([126-9]|30|5\d)?"),
    "HU": Dialling("36", "06"),
    "IL": Dialling("972", "0", r"00|01[2-9]|0105"),
    "IN": Dialling("91", "0"),
    "IT": Dialling("39"),
    "JM": Dialling("1", "1", "011"),
    "JP": Dialling("81", "0", "010"),
    "KR": Dialling("82", "0", r"00[125689]|00[37]\d\d?\d?"),
    "LU": Dialling("352"),
    "MX": Dialling("52"),
    "NG": Dialling("234", "0", "009"),
    "NO": Dialling("47"),
    "PL": Dialling("48"),
    "RU": Dialling("7", "8", "810"),
    "SG": Dialling("65", "", r"0[0-3]\d"),
    "US": Dialling("1", "1", "011"),
}
TRUNK_ZERO = {
    str(code)
    for code, (region, *_) in phonenumbers.COUNTRY_CODE_TO_REGION_CODE.items()
    if region != "001" and PhoneMetadata.metadata_for_region(region).national_prefix == "0"
}
KEYS = ("ABC", "DEF", "GHI", "JKL", "MNO", "PQRS", "TUV", "WXYZ")
KEYPAD = {letter: key for key, letters in enumerate(KEYS, start=2) for letter in letters}
QUOTES_AND_SPACE = " \t\n\xa0\"'`“”„‘’«»‹›"
SEPARATORS = set("+().-/~[]＋（）．／−ーｰ～⁓∼［］")


def visible(text: str) -> str:
    """What is seen between the quotes, without the scheme of a link."""
    seen = [c for c in text if unicodedata.category(c) != "Cf" and not "\ufe00" <= c <= "\ufe0f"]
    bare = "".join(c for c in seen if not "\U000e0100" <= c <= "\U000e01ef")
    return re.sub(r"^[\W_]*(?:tel|sms):", "", bare, flags=re.I).strip(QUOTES_AND_SPACE)


def typed_digits(text: str) -> str:
    """Every digit in order, whatever stands between; letters by the keypad of a telephone."""
    values = (unicodedata.decimal(c, KEYPAD.get(c.upper())) for c in visible(text))
    return "".join(str(value) for value in values if value is not None)


def permitted(text: str, region: str) -> set[str]:
    """Each number that the text may stand for, with no judgement whether there is one."""
    digits, home = typed_digits(text), REGIONS[region]
    if re.search("[+＋]", visible(text)):
        # A typed 0 is left out if it is in brackets, or if a valid number is left, or one as long
        # as a mobile one: the newest are not known to the library.
        has_brackets = bool(re.search(r"[(\[（［]\s*\d", visible(text)))
        readings = abroad(digits)
        return {n for n in readings if n == digits or has_brackets or may_exist(f"+{n}")}
    numbers = {home.code + digits}
    if home.trunk and digits.startswith(home.trunk):
        numbers = {home.code + digits[len(home.trunk) :]}
    if region == "BY" and digits.startswith("80"):
        numbers.add(home.code + digits[2:])
    for size in range(2, len(digits)):
        if re.fullmatch(home.abroad, digits[:size]):
            numbers |= abroad(digits[size:])
    return numbers


def abroad(digits: str) -> set[str]:
    codes = {digits[:size] for size in (1, 2, 3)}
    return {digits} | {
        code + digits[len(code) + 1 :]
        for code in codes & TRUNK_ZERO
        if digits[len(code) :].startswith("0")
    }


def is_valid(number: str) -> bool:
    return phonenumbers.is_valid_number(phonenumbers.parse(number))


def may_exist(number: str) -> bool:
    """Whether the number is valid, or has the length of a mobile one."""
    try:
        parsed = phonenumbers.parse(number)
    except phonenumbers.NumberParseException:
        return False
    mobile = phonenumbers.PhoneNumberType.MOBILE
    fits = phonenumbers.is_possible_number_for_type(parsed, mobile)
    return bool(fits or phonenumbers.is_valid_number(parsed))


def is_separator(character: str) -> bool:
    return character in SEPARATORS or unicodedata.category(character) in ("Nd", "Zs", "Pd")


def examples_of(region: str) -> list[str]:
    kinds = (phonenumbers.PhoneNumberType.MOBILE, phonenumbers.PhoneNumberType.FIXED_LINE)
    numbers = [phonenumbers.example_number_for_type(region, kind) for kind in kinds]
    styles = range(4)  # E.164, international, national, tel:
    written = [phonenumbers.format_number(n, style) for n in numbers if n for style in styles]
    return written + [text.lstrip("+") for text in written]


WRITTEN = sorted({text for region in REGIONS for text in examples_of(region)})
ENDS = [
    "",
    "",
    "",
    ".0",
    ".00",
    ",0",
    "E+12",
    " x12",
    " ext. 5",
    "O",
    ".",
    "/57",
    "-0",
    ";ext=1",
    "\n2",
]
ENDS += [" / 0171 2345678", ", +14155552671", " or 5552671", "\n", "\u200e", "\ufe0f", "”", "'"]
BEGINNINGS = [
    "",
    "",
    "",
    "+",
    "00",
    "0",
    "tel:",
    "SMS:",
    "whatsapp:",
    "'",
    "“",
    "(",
    "\u202a",
    "=",
    "*31#",
]
INSIDE = [
    "",
    "",
    " ",
    "-",
    "(0)",
    "/",
    ".",
    ",",
    "+",
    "O",
    "l",
    "\u2011",
    "\u200e",
    "\ufe0f",
    "\xa0",
    "\t",
]
INSIDE += ["٣", "３", "²", "①", "e", "#", "\n", "\u2212", "\u0301", "０"]
INSIDE += ["ー", "～", "~", "[0]", "］"]


@st.composite
def spellings(draw: st.DrawFn) -> str:
    """A number of some country, mishandled."""
    text = draw(st.sampled_from(WRITTEN))
    for _ in range(draw(st.integers(0, 2))):
        place = draw(st.integers(0, len(text)))
        cut = draw(st.integers(0, 1))
        text = text[:place] + draw(st.sampled_from(INSIDE)) + text[place + cut :]
    return draw(st.sampled_from(BEGINNINGS)) + text + draw(st.sampled_from(ENDS))


ALPHABET = st.sampled_from("+0123456789 ()-./") | st.sampled_from(
    [c for c in INSIDE if len(c) == 1] + ["x", ":", ";"]
)
TEXTS = spellings() | st.text(ALPHABET, max_size=24) | st.text(max_size=24)


@settings(max_examples=200, deadline=None, database=None)
@given(TEXTS, st.sampled_from(sorted(REGIONS)))
@example("+491512345678.0", "US")
@example("+49 151 2345678O", "US")
@example("4915123456789", "DE")
@example("whatsapp:+14155552671", "US")
@example("415-555-267O", "US")
@example("089/123456/57", "DE")
@example("0 15 11 98765 4321", "BR")
@example("011 15-2345-6789", "AR")
@example("+1 415 555 2671 ext. 1", "US")
@example("1-800-FLOWERS", "US")
@example("+4 9(0)151 23456789", "DE")
@example("+(0)1(0)5123456789", "DE")
@example("+8 (0)29 491 19 11", "BY")
@example("+8 4(0)951234567", "RU")
@example("0014155552671", "KR")
@example("0015 49 151 23456789", "BR")
@example("+234 033 12 3456/57", "AR")
def test_accepted_number_has_exactly_the_digits_that_were_typed(text: str, region: str) -> None:
    assert_has_digits_typed(text, region)


@pytest.mark.slow
@settings(max_examples=1000, deadline=None, database=None)
@given(TEXTS, st.sampled_from(sorted(REGIONS)))
def test_accepted_number_of_many_has_exactly_the_digits_that_were_typed(
    text: str, region: str
) -> None:
    assert_has_digits_typed(text, region)


def assert_has_digits_typed(text: str, region: str) -> None:
    number = outcome(text, region)
    if not number.startswith("+"):
        assert number.endswith((".", "”."))  # a sentence that says why
        assert_way_out(text, number, region)
        return
    assert re.fullmatch(r"\+[1-9][0-9]{1,14}", number)
    assert number[1:] in permitted(text, region), (text, number)
    if re.search("[A-Za-z]", visible(text)):
        assert number.startswith("+1")
        assert len(typed_digits(text).removeprefix("1")) == 10
    else:
        assert all(map(is_separator, visible(text))), ascii(text)
    assert re.sub(r"\D", "", format_international(number)) == number[1:]


INVISIBLE = st.sampled_from("\u200b\u200e\u200f\u2060\ufe0f\ufeff\u00ad\u202a\u2069\U000e0101")
LONGEST = max(map(len, WRITTEN))
# Drawn as one list, which costs a third of one draw for each character.
INVISIBLE_TEXTS = st.lists(st.just("") | INVISIBLE, min_size=LONGEST, max_size=LONGEST)


@settings(max_examples=200, deadline=None, database=None)
@given(st.sampled_from(WRITTEN), st.sampled_from(sorted(REGIONS)), INVISIBLE_TEXTS)
def test_what_cannot_be_seen_changes_nothing(text: str, region: str, invisible: list[str]) -> None:
    spelled = "".join(map("".join, zip(text, invisible, strict=False)))
    assert len(invisible) >= len(text)
    assert outcome(spelled, region) == outcome(text, region)


def outcome(text: str, region: str) -> str:
    try:
        return parse_recipient(text, region)
    except PhoneNumberError as error:
        return str(error)


def named(sentence: str) -> list[str]:
    """The spellings that a refusal shows."""
    sentence = re.sub(r" For another country begin with \+ and its code.*", "", sentence)
    shown = re.search(r"(?:Write it as|country code(?:, or with \d+)?:) (.+)\.$", sentence)
    return re.split(", | or ", shown[1]) if shown else []


def assert_way_out(text: str, sentence: str, region: str) -> None:
    """Whatever a refusal shows is taken, as exactly that number."""
    trunk = re.search(r"country code, or with (\d+)\.", sentence)
    if trunk:
        assert outcome(trunk[1] + typed_digits(text), region).startswith("+")
    numbers = ["+" + typed_digits(spelling) for spelling in named(sentence) if "+" in spelling]
    for spelling in named(sentence):
        number = outcome(spelling, region)
        if spelling.startswith("+"):
            assert number == "+" + typed_digits(spelling), (text, region, sentence)
        else:  # the same number as it is dialled at home
            assert number in numbers, (text, region, sentence)


KINDS = (phonenumbers.PhoneNumberType.MOBILE, phonenumbers.PhoneNumberType.FIXED_LINE)


def printed(region: str) -> dict[str, list[str]]:
    """Numbers of a region as they are printed there and for callers from abroad."""
    styles = phonenumbers.PhoneNumberFormat
    numbers = (phonenumbers.example_number_for_type(region, kind) for kind in KINDS)
    return {
        phonenumbers.format_number(number, styles.E164): [
            phonenumbers.format_number(number, style)
            for style in (styles.NATIONAL, styles.INTERNATIONAL)
        ]
        for number in numbers
        if number
    }


@pytest.mark.slow
def test_number_in_both_printed_forms_is_taken_or_refused_with_a_way_out_in_every_region() -> None:
    refused = ""
    for region in sorted(phonenumbers.SUPPORTED_REGIONS):
        for number, (local, abroad) in printed(region).items():
            assert outcome(abroad, region) == number
            sentence = outcome(local, region)
            if sentence == number:
                continue
            refused += "" if refused.endswith(region) else f" {region}"
            assert abroad in named(sentence)
            assert_way_out(local, sentence, region)
    # They print their numbers without the prefix that tells them from those of other countries.
    assert refused == " AR BO BR CN CO GD KI LI MC MH MN MS RW SO TC UY"


# Lost, dialled in some country, or dialled with a carrier's code.
STARTS = ["", "00", "0", "011", "001", "0011", "009", "012", "8 10 ", "010", "0021", "0xx", "00xx"]


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_whatever_a_refusal_shows_is_taken_as_that_number_in_every_region(part: int) -> None:
    countries = ("BR", "CH", "CN", "DE", "IN", "IT", "RU", "US")
    abroad = {next(iter(printed(country))) for country in countries}
    shown = 0
    for region in sorted(phonenumbers.SUPPORTED_REGIONS)[part::4]:
        own = printed(region)
        texts = {n[1:] for n in abroad | own.keys()} | {local for local, _ in own.values()}
        for text in {start + text for start in STARTS for text in texts}:
            sentence = outcome(text, region)
            if not sentence.startswith("+"):
                assert_way_out(text, sentence, region)
                shown += bool(named(sentence))
    assert shown > 700, shown


@pytest.mark.slow
def test_number_behind_an_international_prefix_is_the_right_one_or_shown_in_every_region() -> None:
    abroad = {n for region in ("DE", "GB", "IN", "SG", "US") for n in printed(region)}
    for region in sorted(phonenumbers.SUPPORTED_REGIONS):
        for prefix in prefixes_of(region):
            for number in abroad:
                sentence = outcome(f"{prefix} {number[1:]}", region)
                shown = {"+" + typed_digits(spelling) for spelling in named(sentence)}
                assert sentence == number or number in shown, (region, prefix, number, sentence)


def test_plus_before_the_local_form_is_the_number_or_refused_in_every_region() -> None:
    for region in sorted(phonenumbers.SUPPORTED_REGIONS):
        for number, (local, abroad) in printed(region).items():
            typed = "+" + typed_digits(local)
            sentence = outcome(typed, region)
            if sentence == typed:  # whoever types no trunk prefix may mean another country
                assert is_valid(typed), (region, typed)
                assert number.endswith(typed[1:]), (region, typed)
            else:
                assert abroad in named(sentence), (region, typed, sentence)
                assert_way_out(typed, sentence, region)


@pytest.mark.slow
def test_number_with_its_country_code_apart_is_taken_in_every_region() -> None:
    numbers = {n: a for r in phonenumbers.SUPPORTED_REGIONS for n, (_, a) in printed(r).items()}
    for region in ("BY", "ES", "FR", "HU", "KZ", "RE", "RU", "TM", "UZ"):
        unclear = set()
        for number, abroad in numbers.items():
            assert outcome(abroad, region) == number
            sentence = outcome(number, region)
            if sentence != number:
                assert abroad in named(sentence)
                unclear.add(number[:3])
        # 8 is the trunk prefix there, and begins the codes of Vietnam and South Korea.
        assert unclear <= {"+84", "+82"} if region in ("BY", "KZ", "RU", "TM") else not unclear


def test_number_of_a_shared_plan_is_the_right_one_or_shown_in_every_region_of_it() -> None:
    plan = ("FR", "GF", "GP", "MQ", "RE", "YT")
    mobile = {n: printed(r)[n] for r in plan for n in list(printed(r))[:1]}
    for region in plan:
        for number, (local, abroad) in mobile.items():
            sentence = outcome(local, region)
            assert sentence == number or named(sentence) == [abroad], (region, local, sentence)


def test_number_behind_the_soviet_trunk_prefix_is_the_right_one_or_shown() -> None:
    for region in (
        "AM",
        "AZ",
        "BY",
        "EE",
        "GE",
        "KG",
        "KZ",
        "LT",
        "LV",
        "MD",
        "RU",
        "TJ",
        "UA",
        "UZ",
    ):
        number, (_, abroad) = next(iter(printed(region).items()))
        national = number.removeprefix(f"+{phonenumbers.country_code_for_region(region)}")
        for typed in (f"8{national}", f"+8 {national}"):
            sentence = outcome(typed, region)
            assert sentence == number or abroad in named(sentence), (region, typed, sentence)


def prefixes_of(region: str) -> list[str]:
    """What is dialled there for the +, up to four digits."""
    pattern = PhoneMetadata.metadata_for_region(region).international_prefix
    texts = (f"{value:0{size}}" for size in range(1, 5) for value in range(10**size))
    return [text for text in texts if re.fullmatch(pattern, text)]


@pytest.mark.slow
def test_number_abroad_without_its_plus_is_never_completed_where_there_is_a_trunk_prefix() -> None:
    examples = [e for region in REGIONS for e in examples_of(region) if e.isdecimal()]
    for region, dialling in REGIONS.items():
        if not dialling.trunk or dialling.code == "1":
            continue
        for text in examples:
            if not text.startswith(dialling.trunk):
                refused = "egin with + and" in outcome(text, region)
                own = outcome(text, region) == f"+{dialling.code}{text}"
                assert refused or (own and region in ("BR", "CN")), (region, text)


def test_mobile_number_without_plus_is_the_right_one_or_refused_in_every_region() -> None:
    mobile = phonenumbers.PhoneNumberType.MOBILE
    for region in sorted(phonenumbers.SUPPORTED_REGIONS):
        parsed = phonenumbers.example_number_for_type(region, mobile)
        if parsed is None:
            continue
        number = phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)
        assert outcome(number, region) == number
        for text in (number[1:], phonenumbers.national_significant_number(parsed)):
            refused = "egin with + and" in outcome(text, region)
            assert refused or outcome(text, region) == number, (region, text)
