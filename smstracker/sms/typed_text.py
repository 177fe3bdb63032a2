"""Invisible characters and digits of all scripts in text of strangers."""

import unicodedata


class MixedDigitsError(ValueError):
    """The digits of one number come from several scripts; the message is for the typist."""


def is_invisible(character: str) -> bool:
    """Recognise format characters, such as the zero-width space, and variation selectors."""
    is_variation_selector = character in "\u180b\u180c\u180d\u180f" or (
        "\ufe00" <= character <= "\ufe0f" or "\U000e0100" <= character <= "\U000e01ef"
    )
    return is_variation_selector or unicodedata.category(character) == "Cf"


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
