"""Numbers pasted into the form instead of a file."""

import re

from smstracker.sms.phone_numbers import parse_recipient
from smstracker.sms.phone_spelling import PhoneNumberError

_BETWEEN = re.compile(r"[,;\t|]")


def split_pasted(text: str, region: str) -> str:
    """Return pasted rows; a single row of nothing but numbers becomes a row for each."""
    lines = [line for line in text.splitlines() if line.strip()]
    parts = [part.strip() for part in _BETWEEN.split(lines[0]) if part.strip()] if lines else []
    if len(lines) != 1 or not all(_is_number(part, region) for part in parts):
        return text
    return "\n".join(parts)


def _is_number(text: str, region: str) -> bool:
    try:
        parse_recipient(text, region)
    except PhoneNumberError:
        return False
    return True
