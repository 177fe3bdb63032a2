"""Whether a text holds a phone number, however people write it: one answer for all tables."""

import re
import unicodedata
from itertools import pairwise
from urllib.parse import unquote_to_bytes

from smstracker.sms import numbering_plan as plan
from smstracker.sms.phone_spelling import ascii_form
from smstracker.sms.typed_text import is_invisible

# Fewer digits without the country code are too often something else.
MIN_NATIONAL_DIGITS = 7
_BRACKETED_ZERO = re.compile(r"\(\s*0\s*\)")
_GROUP = re.compile(r"\+?[0-9]+")
_GAP = re.compile(r"[ ().\-/~]{1,4}")
_WORDS = re.compile(r"[^\W\d_]|\n")
_NO_DIGITS = bytes(set(range(256)) - set(b"0123456789"))
# Separators as an address or a form encodes them.
_ENCODED_SEPARATORS = re.compile(rb"%(?:2[089BDEF]|7E)", re.I)


class WrittenNumber:
    """A number in E.164, to be found in texts: with or without its country code, in groups of
    digits with separators between them, in any script.

    A longer number that has its digits is another one.
    """

    def __init__(self, number: str) -> None:
        digits = number.removeprefix("+")
        split = plan.split_country_code(digits)
        code, national = (split.code, split.national) if split else ("", digits)
        trunk = plan.trunk_prefix(split.main_region) if split else ""
        dialled = {national, trunk + national}
        # Before it people write 00, or 011 in North America.
        self._whole = {f"{code}{form}" for form in dialled} | {f"11{digits}"}
        self._whole = {form.lstrip("0") for form in self._whole}
        self._short = {form.lstrip("0") for form in dialled}
        self._has_short = len(national) >= MIN_NATIONAL_DIGITS
        self._digits = national
        self._max_digits = len(digits) + len("0011") + len(trunk)

    def is_in(self, text: str | None) -> bool:
        """Whether a text holds the number."""
        if not text:
            return False
        # Much quicker than to read the groups.
        if self._digits not in _ascii_digits(text):
            return False
        if not text.isascii():
            text = _to_ascii(text)
        return self._is_all_of(text) or self._is_among_groups(_BRACKETED_ZERO.sub(" ", text))

    def may_be_in_json(self, text: str) -> bool:
        """Whether values of a JSON text may hold the number; quicker than to read it."""
        is_plain = text.isascii() and "\\u" not in text
        return not is_plain or self._digits in _ascii_digits(text)

    def is_in_bytes(self, value: bytes) -> bool:
        """Whether bytes of a request hold the number in ASCII digits, as they are or encoded."""
        return self.is_in(value.decode("ascii", "ignore")) or (
            self._may_be_encoded_in(value)
            and self.is_in(unquote_to_bytes(value.replace(b"+", b" ")).decode("utf-8", "replace"))
        )

    def _may_be_encoded_in(self, value: bytes) -> bool:
        """Whether the digits follow one another, each as it is or percent-encoded.

        Much quicker than to decode: strangers may send many texts that are all encoded.
        """
        value = _ENCODED_SEPARATORS.sub(b"", value)
        # A stray % before a number that begins with 3 takes that digit too.
        digits = self._digits.removeprefix("3").encode()
        return digits in value.replace(b"%3", b"").translate(None, _NO_DIGITS)

    def _is_all_of(self, text: str) -> bool:
        if _WORDS.search(text):
            return False
        digits = re.sub("[^0-9]", "", text).lstrip("0")
        return digits in self._whole or digits in self._short

    def _is_among_groups(self, text: str) -> bool:
        groups = list(_GROUP.finditer(text))
        is_joined = [
            _GAP.fullmatch(text, left.end(), right.start()) is not None
            for left, right in pairwise(groups)
        ]
        is_joined.append(False)
        for first, group in enumerate(groups):
            before = groups[first - 1][0] if first and is_joined[first - 1] else ""
            # Behind the country code of another number.
            is_abroad = before.startswith(("+", "00")) and not group[0].startswith("+")
            forms = self._whole | (set() if is_abroad or not self._has_short else self._short)
            digits = ""
            for position in range(first, len(groups)):
                digits += groups[position][0].lstrip("+")
                if digits.lstrip("0") in forms:
                    return True
                if not is_joined[position] or len(digits) > self._max_digits:
                    break
        return False


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
