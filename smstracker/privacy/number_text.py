"""Whether a text holds a phone number, however people write it: one answer for all tables."""

import re
import unicodedata
from html import unescape
from itertools import accumulate
from urllib.parse import unquote_to_bytes

from smstracker.sms import numbering_plan as plan
from smstracker.sms.phone_spelling import ascii_form
from smstracker.sms.typed_text import is_invisible

# Fewer digits without the country code are too often something else, as in "Order 23456".
MIN_NATIONAL_DIGITS = 7
# So many are the number whatever stands before them ("Box 44 415 555 0123"), unless it makes them
# a number of another country.
SURE_DIGITS = 9
# Groups of so many digits beside the number are a number or a date of their own: "2026-11-28".
OWN_DIGITS = 7
# A text with so many places that look like the number is full of it.
MAX_PLACES = 50
MAX_CONTEXT = 60  # characters
_GAP = r"(?:[^\w+%\n]|_){0,4}"  # between digits of one number
_BRACKETED_ZERO = re.compile(r"\(\s*0\s*\)")
_BEFORE = re.compile(rf"(?:\+?[0-9]++{_GAP})+\Z")
_AFTER = re.compile(rf"(?:{_GAP}[0-9]+)+")
# What is dialled before a country code in most countries, North America, Australia and Japan.
_ABROAD = re.compile(r"\A(?:\+|0011|00|011|010)")
_GROUP = re.compile(r"(\+?[0-9]+)([^0-9+]*)")
_ENDS_A_NUMBER = re.compile(r"[,;:|/]\s|\s[/|]")
_ZEROS = re.compile(r"[^0-9]+0+")  # of a spreadsheet
_WORDS = re.compile(r"[^\W\d_]|\n")
_NO_DIGITS = bytes(set(range(256)) - set(b"0123456789"))
# Separators as an address or a form encodes them.
_ENCODED_SEPARATORS = re.compile(rb"%(?:09|2[0-9A-F]|3[A-F]|5[B-F]|7[B-E])", re.I)


class WrittenNumber:
    """A number in E.164, to be found in texts: with or without its country code, in groups of
    digits with separators between them, in any script.

    A longer number that has its digits is another one.
    """

    def __init__(self, number: str) -> None:
        digits = number.removeprefix("+")
        split = plan.split_country_code(digits)
        self._code, self._national = (split.code, split.national) if split else ("", digits)
        trunk = plan.trunk_prefix(split.main_region) if split else ""
        # What is dialled before it, in one piece; before the code also 00, or 011 in North America.
        self._trunks = {"", "0", trunk}
        codes = {f"{prefix}{self._code}" for prefix in ("", "+", "00", "011")}
        self._codes = {f"{code}{trunk}" for code in codes for trunk in self._trunks}
        self._place = re.compile(_GAP.join(self._national))

    def matches(self, text: str | None) -> bool:
        """Whether a text holds the number."""
        if not text:
            return False
        return self._matches(text) or self._matches_encoded(text.encode("utf-8", "replace"))

    def _matches(self, text: str) -> bool:
        # Much quicker than to look at the places.
        if self._national not in _ascii_digits(text):
            return False
        if not text.isascii():
            text = _to_ascii(text)
        if self._equals(text):
            return True
        text = _BRACKETED_ZERO.sub(" ", text)
        place, count = self._place.search(text), 0
        while place:
            count += 1
            if count > MAX_PLACES or self._stands_at(text, place.start(), place.end()):
                return True
            place = self._place.search(text, place.start() + 1)
        return False

    def _stands_at(self, text: str, start: int, end: int) -> bool:
        """Whether the national digits at a place are this number, by what is around them."""
        before = self._read_before(text[max(start - MAX_CONTEXT, 0) : start])
        if before is None or not self._may_begin(*before):
            return False
        groups, code = before
        after = _AFTER.match(text[end : end + MAX_CONTEXT])
        if not after or _ZEROS.fullmatch(after[0]) or _ENDS_A_NUMBER.match(after[0]):
            return True
        if after[0][0].isdigit():  # in one piece with it
            return False
        is_in_one_piece = text[start:end] == self._national
        return is_in_one_piece or self._may_precede(after[0], bool(groups), bool(code))

    def _read_before(self, before: str) -> tuple[list[tuple[str, str]], str] | None:
        """The groups of digits before the country code, and the code as written; "" without one.

        None if the digits of a longer number stand in one piece with the national digits.
        """
        chain = _BEFORE.search(before)
        groups = _drop_ended_numbers(_GROUP.findall(chain[0]) if chain else [])
        if groups and not groups[-1][1]:  # in one piece with it
            piece = groups.pop()[0]
            if piece in self._codes:
                return groups, piece
            if piece not in self._trunks:
                return None
        elif groups and groups[-1][0] in self._trunks - self._codes:
            groups.pop()
        code = groups.pop()[0] if groups and groups[-1][0] in self._codes else ""
        if code and groups and _ABROAD.fullmatch(groups[-1][0]):
            groups.pop()
        return groups, code

    def _may_begin(self, groups: list[tuple[str, str]], code: str) -> bool:
        """Whether the number can begin behind these groups and its code as written."""
        if not code.startswith("+") and self._ends_number_abroad(groups, code):
            return False
        if not groups or sum(len(group.strip("+")) for group, _gap in groups) >= OWN_DIGITS:
            return bool(code) or len(self._national) >= MIN_NATIONAL_DIGITS
        if code:
            return len(self._code + self._national) >= SURE_DIGITS or not groups[-1][0].strip("+0")
        return len(self._national) >= SURE_DIGITS

    def _ends_number_abroad(self, groups: list[tuple[str, str]], code: str) -> bool:
        """Whether the groups before the code, or the digits, make it one of another country."""
        digits = code + self._national
        if groups:
            group = groups[-1][0]
            rest = _ABROAD.sub("", group, count=1)
            may_be_code = group.startswith("+") and len(rest) < OWN_DIGITS
            if may_be_code or (rest != group and _is_code(rest)):
                return True
            if _is_code(group) and _is_valid(group + digits):
                return True
        for group, _gap in reversed(groups):
            rest = _ABROAD.sub("", group, count=1)
            if rest != group and _is_valid(rest + digits):
                return True
            digits = group.strip("+") + digits
        return False

    def _may_precede(self, after: str, is_behind_digits: bool, has_code: bool) -> bool:
        """Whether the number, itself in groups, ends where other groups of digits follow."""
        groups = re.findall("[0-9]+", after)
        if len("".join(groups)) >= OWN_DIGITS:
            return True
        if is_behind_digits or not (has_code or len(self._national) >= SURE_DIGITS):
            return False
        longer = (f"{self._code}{self._national}{digits}" for digits in accumulate(groups))
        return not any(map(_is_valid, longer))

    def may_be_in_json(self, text: str) -> bool:
        """Whether values of a JSON text may hold the number; quicker than to read it."""
        is_plain = text.isascii() and not any(mark in text for mark in ("\\u", "%", "&"))
        return not is_plain or self._national in _ascii_digits(text)

    def matches_bytes(self, value: bytes) -> bool:
        """Whether bytes of a request hold the number in ASCII digits, as they are or encoded."""
        is_plain = self._matches(value.decode("ascii", "ignore"))
        return is_plain or self._matches_encoded(value.replace(b"+", b" "))

    def _matches_encoded(self, value: bytes) -> bool:
        """Whether a text holds the number as an address, a form or HTML encodes it."""
        if b"%" in value and self._may_match_encoded(value):
            value = unquote_to_bytes(value)
        elif b"&" not in value:
            return False
        return self._matches(unescape(value.decode("utf-8", "replace")))

    def _may_match_encoded(self, value: bytes) -> bool:
        """Whether the digits follow one another, each as it is or percent-encoded.

        Much quicker than to decode: strangers may send many texts that are all encoded.
        """
        value = _ENCODED_SEPARATORS.sub(b"", value)
        # A stray % before a number that begins with 3 takes that digit too.
        digits = self._national.removeprefix("3").encode()
        return digits in value.replace(b"%3", b"").translate(None, _NO_DIGITS)

    def _equals(self, text: str) -> bool:
        """Whether a text is the number alone, with or without its country code."""
        if _WORDS.search(text):
            return False
        digits = re.sub("[^0-9]", "", text).lstrip("0")
        before = digits.removesuffix(self._national.lstrip("0"))
        return digits != before and before in self._codes | self._trunks


def _drop_ended_numbers(groups: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Leave out the groups before the last separator that stands between numbers."""
    ends = [at for at, (_group, gap) in enumerate(groups, 1) if _ENDS_A_NUMBER.search(gap)]
    return groups[ends[-1] :] if ends else groups


def _is_code(digits: str) -> bool:
    number = plan.split_country_code(digits)
    return number is not None and not number.national


def _is_valid(digits: str) -> bool:
    number = plan.split_country_code(digits)
    return number is not None and number.is_valid


def _ascii_digits(text: str) -> str:
    """The digits of a text alone, of all scripts as ASCII."""
    if text.isascii():
        return text.encode().translate(None, _NO_DIGITS).decode()
    digits = re.sub(r"\D+", "", text)
    return digits if digits.isascii() else "".join(str(unicodedata.decimal(d)) for d in digits)


def _to_ascii(text: str) -> str:
    """Replace digits of all scripts, dashes and spaces; leave out what is invisible."""
    return "".join(
        str(unicodedata.decimal(character, ascii_form(character)))
        for character in text
        if not is_invisible(character)
    )
