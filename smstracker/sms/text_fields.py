"""Fields of a text, as in "Dear ((name))", that each recipient's own words replace. Pure."""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

# East Asian keyboards write full-width brackets. A name may hold brackets itself: ((Phone (home))).
# A face ends no field: "sad :(( but well :))".
_FIELD = re.compile(r"[(（]{2}((?:[^()（）\n]|\([^()\n]*\)){1,100})(?<![:;=])[)）]{2}")
_UNCLOSED = re.compile(r"[(（]{2}\s*\w[^()（）\n]{0,20}")
# The same in the notation of other programs; what stands in it matters only if a column has it.
_OTHER_NOTATION = re.compile(
    r"\{\{?([^{}\n]{1,100})\}\}?|<<?([^<>\n]{1,100})>>?|\[\[?([^\[\]\n]{1,100})\]\]?"
    r"|(?<![(（])[(（]([^()（）\n]{1,100})[)）]|%([^%\s]{1,100})%|«([^«»\n]{1,100})»"
)


def field_key(name: str) -> str:
    """Return what is compared of the name of a field or column: no case, spaces, hyphens."""
    letters = unicodedata.normalize("NFKC", name).casefold()
    return re.sub(r"[\s_\-\u00ad\u200b\ufeff]+", "", letters)


@dataclass(frozen=True)
class TextTemplate:
    """A text with fields. `fields` are their names as written, by key, in the text's order."""

    text: str
    fields: dict[str, str] = field(init=False)
    _pieces: list[str] = field(init=False, repr=False)  # text and key in turn

    def __post_init__(self) -> None:
        pieces = _FIELD.split(self.text)
        names = [name.strip() for name in pieces[1::2]]
        pieces[1::2] = map(field_key, names)
        fields = {field_key(name): name for name in reversed(names)}
        object.__setattr__(self, "fields", dict(reversed(fields.items())))
        object.__setattr__(self, "_pieces", pieces)

    def fill(self, values: Mapping[str, str]) -> str:
        """Return the text with the values, which are given by key; each key must be there."""
        pieces = self._pieces.copy()
        pieces[1::2] = [values[key] for key in pieces[1::2]]
        return "".join(pieces)

    def find_problem(self) -> str | None:
        """Why the fields cannot be filled in, for who typed the text."""
        if "" in self.fields:
            return "A field of the text has no name. Write it as ((name))."
        # Only what looks like a name: many write :(( for a sad face.
        if match := _UNCLOSED.search(_FIELD.sub("", self.text)):
            return f"“{match[0]}” does not end with )). Write a field as ((name))."
        return None

    def find_other_notation(self, columns: Iterable[str]) -> list[str]:
        """Return what looks like a field in another notation, because a column has that name."""
        keys = {key for name in columns if (key := field_key(name))}
        matches = _OTHER_NOTATION.finditer(_FIELD.sub("", self.text))
        texts = (m[0] for m in matches if field_key(next(filter(None, m.groups()))) in keys)
        return list(dict.fromkeys(texts))


def find_unfilled_field(text: str) -> str | None:
    """Return a field that is still in a text which is about to be sent."""
    match = _FIELD.search(text)
    return match[0] if match else None
