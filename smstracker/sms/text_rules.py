"""What the text of a message may be: the rules of the form, of files and of programs. Pure."""

import re

from smstracker.sms.text_fields import find_unfilled_field
from smstracker.sms.typed_text import is_blank

MAX_CHARACTERS = 1600
MAX_PICTURES = 10
_SURROGATE = re.compile("[\ud800-\udfff]")


def unix_lines(value: str | None) -> str:
    # Browsers send CR LF for a line end, which would count, and cost, as two characters.
    return re.sub(r"\r\n?", "\n", value or "")


def find_text_problem(text: str, *, has_pictures: bool = False) -> str | None:
    """Why a text cannot be sent, for who typed it."""
    if is_blank(text) and not has_pictures:
        unseen = "Nothing of the text can be seen. " if text.strip() else ""
        return f"{unseen}Type a text, or add the address of a picture."
    if problem := length_problem(text):
        return problem
    if unfilled := find_unfilled_field(text):
        return f"“{unfilled}” is a field that only a batch fills in. Replace it by its words."
    return character_problem(text)


def character_problem(text: str, noun: str = "The text") -> str | None:
    """Why a text can neither be stored nor sent: PostgreSQL takes no NUL, UTF-8 no surrogate."""
    if "\0" in text:
        return f"{noun} contains a character (NUL) that cannot be sent."
    if _SURROGATE.search(text):
        return f"{noun} contains half of a character (a lone surrogate)."
    return None


def length_problem(text: str) -> str | None:
    """Why a text is too long for one message; compose.js writes the same."""
    excess = len(text) - MAX_CHARACTERS
    if excess <= 0:
        return None
    return f"{len(text):,} characters: {excess:,} more than one message can hold."
