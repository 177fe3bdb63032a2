"""Recognition of addresses that show a picture in a page, as drives and galleries share. Pure.

Data in picture_pages.toml.
"""

import re
import tomllib
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

_tables = tomllib.loads(Path(__file__).with_name("picture_pages.toml").read_text("utf-8"))
_PAGES = [
    (name, re.compile(host), re.compile(path), raw.split())
    for name, host, path, raw in _tables["pages"]
]


def describe_page(address: str) -> str | None:
    """Return a hint that follows "Line 2 " if the address is a page around a picture, else None."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return None
    host, path = (parts.hostname or "").removesuffix("."), parts.path or "/"
    query = {f"{name}={values[-1].lower()}" for name, values in parse_qs(parts.query).items()}
    for name, hosts, paths, raw in _PAGES:
        if hosts.fullmatch(host) and paths.fullmatch(path) and not query.intersection(raw):
            tip = f"Give the address of the picture itself{_tables['tips'].get(name, '')}."
            return (
                f"looks like a page of {name}, not a picture. Twilio refuses pages, and the "
                f"message would fail. {tip}"
            )
    return None
