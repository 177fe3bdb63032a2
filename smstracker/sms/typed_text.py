"""Text of strangers: invisible characters, digits of all scripts, what no column takes."""

import unicodedata

# Fillers, blanks and selectors that are no format characters.
_UNSEEN = "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0"


class MixedDigitsError(ValueError):
    """The digits of one number come from several scripts; the message is for the typist."""


def is_invisible(character: str) -> bool:
    """Recognise format characters (as the zero-width space), variation selectors and fillers."""
    is_listed = character in _UNSEEN or (
        "\ufe00" <= character <= "\ufe0f" or "\U000e0100" <= character <= "\U000e01ef"
    )
    return is_listed or unicodedata.category(character) == "Cf"


def is_blank(text: str) -> bool:
    """Whether nothing of a text can be seen."""
    return all(c.isspace() or is_invisible(c) or unicodedata.category(c) == "Cc" for c in text)


def escape_invisible(text: str, *, allowed: str = "") -> str:
    """Escape control and other unprintable characters, except those in `allowed`."""
    return "".join(
        character
        if character.isprintable() or character in allowed
        else character.encode("unicode_escape").decode()
        for character in text
    )


def to_ascii_digits(text: str) -> str:
    """Replace the digits of any one script by ASCII digits. Raises MixedDigitsError.

    Unicode defines the value of a decimal digit, so nothing is guessed; two scripts in one number
    are a sign of something else.
    """
    zeros = {ord(character) - int(character) for character in text if character.isdecimal()}
    if len(zeros) > 1:
        raise MixedDigitsError("The digits come from several scripts. Type all of them in one.")
    return "".join(str(unicodedata.decimal(character, character)) for character in text)


def truncate_for_column(value: str | None, length: int) -> str | None:
    """Fit a value into a column of either database: no NUL, no half of a surrogate pair."""
    if not value:
        return None
    return value.encode(errors="replace").decode().replace("\0", "")[:length] or None
