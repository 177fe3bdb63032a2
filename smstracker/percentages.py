"""Shares in percent, as people read them."""


def format_share(part: int, whole: int, digits: int = 1) -> str:
    """A percentage; little is not rounded to nothing, nor much to all."""
    if not whole:
        return "–"
    percent, least = 100 * part / whole, 10**-digits
    if 0 < percent < least:
        return f"under {least:g} %"
    if 100 - least < percent < 100:
        return f"over {100 - least:g} %"
    return f"{percent:.{digits}f} %"
