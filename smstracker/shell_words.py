"""Words of commands that people copy into their shell."""

import os
import shlex


def quote_word(text: str) -> str:
    """Quote a word; what a terminal does not show as it is, by its bytes, as bash reads them."""
    if text.isprintable():
        return shlex.quote(text)
    escaped = text.replace("\\", r"\\").replace("'", r"\'")
    return f"$'{''.join(c if c.isprintable() else _escape_bytes(c) for c in escaped)}'"


def quote_argument(text: str) -> str:
    """Quote the last argument of one of our commands; one with a dash first is no option."""
    return f"-- {quote_word(text)}" if text.startswith("-") else quote_word(text)


def _escape_bytes(character: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in os.fsencode(character))
