"""Ids of rows in the arguments of a request."""

from flask import abort


def parse_row_id(text: str | None) -> int | None:
    """Parse the id that a request names, if it names one; abort with 404 if no row can have it."""
    if text is None:
        return None
    is_number = text.isascii() and text.isdecimal() and len(text) < 20
    return int(text) if is_number and 0 < int(text) < 2**63 else abort(404)
