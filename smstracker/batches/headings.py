"""What a column holds by its heading, in the languages of headings.toml."""

import re
import tomllib
import unicodedata
from collections.abc import Iterable
from pathlib import Path

MAX_LENGTH = 200  # of what is looked at


def _fold(text: str) -> str:
    """The small letters of a text, without accents."""
    letters = unicodedata.normalize("NFKD", text.casefold().replace("đ", "d"))
    return "".join(c for c in letters if not unicodedata.combining(c))


def _words(name: str) -> str:
    """The words of a heading, with a blank between them: "mobile phone" for "MobilePhone_1"."""
    separate = re.sub(r"(?<=[a-z])(?=[A-Z][a-z])", " ", name[:MAX_LENGTH])
    return " ".join(re.findall(r"[^\W\d_]+", _fold(separate)))


def _alternatives(words: Iterable[str]) -> str:
    """The pattern of any of the words; one with * may go on."""
    patterns = (re.escape(_fold(word)).replace(r"\*", "[^ ]*") for word in words)
    return f"(?:{'|'.join(patterns)})"


class _Kind:
    """The words of one kind of heading."""

    def __init__(self, name: str) -> None:
        table = _tables[name]
        before, after = (_alternatives(table.get(place, ())) for place in ("before", "after"))
        words = _alternatives(table["words"])
        self._word = re.compile(rf"\b{before}?{words}{{1,2}}{after}?\b")
        self._all = re.compile(rf"{words}(?: {words})*")
        self._parts = [_fold(part) for part in table["parts"]]

    def matches(self, name: str) -> bool:
        """Whether a heading holds one of the words."""
        text = _fold(name[:MAX_LENGTH])
        return bool(self._word.search(_words(name))) or any(part in text for part in self._parts)

    def is_all(self, name: str) -> bool:
        """Whether a heading holds nothing but such words."""
        return self._all.fullmatch(_words(name)) is not None


_tables = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))
_PHONE, _FAX, _NUMBER = _Kind("phone"), _Kind("fax"), _Kind("number")
_COUNTRY_CODE, _COUNTRY, _PREFIX = map(_Kind, ("country_code", "country", "prefix"))


def is_phone(name: str) -> bool:
    """Whether a heading is surely one of phone numbers: "Mobile No", not "Automobile No"."""
    return _PHONE.matches(name) and not is_fax(name)


def is_fax(name: str) -> bool:
    """Whether a heading names what no text message reaches, perhaps among others."""
    return _FAX.matches(name)


def is_number(name: str) -> bool:
    """Whether a heading may be of phone numbers or of others: "Number", "To"."""
    return _NUMBER.is_all(name)


def is_country_code(name: str) -> bool:
    """Whether a heading is one of country codes: "Dial code"."""
    return _COUNTRY_CODE.matches(name)


def is_country(name: str) -> bool:
    """Whether a heading is one of countries: "Country"."""
    return _COUNTRY.is_all(name)


def is_prefix(name: str) -> bool:
    """Whether a heading is one of country codes or of something else: "Prefix"."""
    return _PREFIX.is_all(name)
