"""The address of the database."""

import os
import re
import unicodedata
from pathlib import Path
from urllib.parse import unquote

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from smstracker.settings.addresses import NUMERIC_NAME, parse_host
from smstracker.settings.files import make_instance
from smstracker.settings.reader import Reader

_SQLITE_OPTIONS = {"timeout", "detect_types", "check_same_thread", "cached_statements"}


def read_database_url(reader: Reader, name: str) -> str:
    raw = reader.text(name)
    if raw is None:
        if not reader.problems:
            make_instance(reader.instance)
        file = "demo.sqlite" if reader.demo else "smstracker.sqlite"
        return f"sqlite:///{reader.instance / file}"
    raw = re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", raw)
    try:
        url = make_url(raw)
    except (ArgumentError, ValueError):
        reader.problem(name, "is not a database URL")
        return raw
    if any(unicodedata.category(character) == "Cc" for character in raw):
        reader.problem(name, "has a line break or another control character in it")
    elif url.drivername in ("sqlite", "sqlite+pysqlite"):
        if sqlite_path(url) is None:
            reader.problem(name, "must name a file: what is kept in memory is lost")
        elif url.host:
            reader.problem(name, "must begin with three slashes, or four for a path from the root")
        elif "uri" not in url.query and url.query.keys() - _SQLITE_OPTIONS:
            reader.problem(name, "has an option that SQLite does not know")
    elif url.drivername != "postgresql+psycopg":
        reader.problem(name, "must begin with sqlite:/// or postgresql://")
    elif any(NUMERIC_NAME.fullmatch(host) and not parse_host(host) for host in _find_hosts(url)):
        reader.problem(name, "has a host that is neither a name nor an IP address")
    return raw


def _find_hosts(url: URL) -> list[str]:
    """Return the hosts of a PostgreSQL URL, without ports."""
    texts = (url.host or "", *url.normalized_query.get("host", ()))
    hosts = [host for text in texts for host in text.split(",") if host]
    return [re.sub(r":[0-9]*$", "", host) if host.count(":") == 1 else host for host in hosts]


def sqlite_path(url: URL) -> Path | None:
    """Return the file of a SQLite URL; None for memory, a temporary file or another database."""
    if url.get_backend_name() != "sqlite":
        return None
    path, _, query = (url.database or "").removeprefix("file:").partition("?")
    options = [*url.query.items(), *(tuple(pair.split("=", 1)) for pair in query.split("&"))]
    in_memory = ("mode", "memory") in options or ("vfs", "memdb") in options
    if not path.strip("/ ") or path == ":memory:" or in_memory:
        return None
    return Path(unquote(path) if path != url.database else path)


def read_web_concurrency(reader: Reader, name: str) -> int:
    is_sqlite = read_database_url(reader, "DATABASE_URL").startswith("sqlite")
    # With one processor, processes would only take turns at SQLite's file.
    has_one = reader.demo or (is_sqlite and os.cpu_count() == 1)
    return reader.number(name, 1 if has_one else 2, 1, 64)
