"""The filtered log as a file, made while it is sent: a batch at a time, whatever its length."""

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from threading import Lock
from typing import Any

from flask import Response, stream_with_context

from smstracker.extensions import db, settings
from smstracker.messages import search
from smstracker.messages.pagination import as_json
from smstracker.messages.search import Cursor, SearchFilters
from smstracker.models import Message
from smstracker.web.waiting_threads import waiting_threads

BATCH = 1_000
# An export holds a thread of the server for as long as its reader takes.
ONE_IN = 8  # threads may do so
# Behind a proxy that speaks HTTP/1.0 a cut file looks whole, so its last line says that it is not.
BROKEN_OFF = "INCOMPLETE: this export broke off here. Export again."
# A spreadsheet takes a cell that begins with one of these for a formula, some also after blanks.
# An apostrophe keeps it a text; one that stands there already counts, so that taking the first one
# away always gives the text back.
FORMULA = re.compile(r"'*(?:[\s\u200b\ufeff]*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n])")
# A plus and digits alone: quoted, it is a text or at worst the same digits as a number.
PHONE_NUMBER = re.compile(r"\+[0-9]{1,15}")
NUMBER_COLUMNS = frozenset({"recipient", "sender"})
COLUMNS = (
    "id",
    "sid",
    "recipient",
    "sender",
    "messaging_service_sid",
    "text",
    "media_urls",
    "segments",
    "price",
    "price_unit",
    "status",
    "status_label",
    "state",
    "status_at",
    "status_source",
    "simulated",
    "error_code",
    "reason",
    "conflicting",
    "created_at",
    "accepted_at",
    "final_at",
)
TYPES = {"csv": "text/csv; charset=utf-8", "json": "application/json"}


class TooManyExportsError(Exception):
    """No further export now; the text says why."""


class ExportSlots:
    """Whose exports this process is making: one for each user, so that a slow reader has one."""

    def __init__(self) -> None:
        self._guard = Lock()
        self._owners: set[int] = set()

    def take(self, owner_id: int, most: int) -> None:
        """Raises BusyError."""
        with self._guard:
            if owner_id in self._owners:
                raise TooManyExportsError(
                    "Your other export is still being made. Try again when it is done."
                )
            if len(self._owners) >= most:
                raise TooManyExportsError("Other exports are being made. Try again in a minute.")
            self._owners.add(owner_id)

    def release(self, owner_id: int) -> None:
        with self._guard:
            self._owners.discard(owner_id)


_slots = ExportSlots()


def response(chosen: SearchFilters, kind: str, now: datetime) -> Response:
    """The file, in the kind "csv" or "json". Raises BusyError."""
    _slots.take(chosen.owner_id, max(settings().web_threads // ONE_IN, 1))
    lines = as_csv(chosen, now) if kind == "csv" else as_json_text(chosen, now)
    slot = ExitStack()
    slot.callback(_slots.release, chosen.owner_id)
    waiting = waiting_threads()
    waiting.enter()
    slot.callback(waiting.leave)
    answer = Response(stream_with_context(_within(slot, lines)), content_type=TYPES[kind])
    # Also when the reader goes away before the first line.
    answer.call_on_close(slot.close)
    name = f"messages-{now:%Y-%m-%d}.{kind}"
    answer.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return answer


def _within(slot: ExitStack, lines: Iterator[str]) -> Iterator[str]:
    with slot:
        yield from lines


def as_csv(chosen: SearchFilters, now: datetime) -> Iterator[str]:
    """With a byte order mark, without which Excel takes the file for Latin-1."""
    yield "\ufeff" + _csv([COLUMNS])
    try:
        for batch in batches(chosen, now):
            rows = [as_json(message, now) for message in batch]
            yield _csv([[_cell(name, row[name]) for name in COLUMNS] for row in rows])
    except Exception:
        yield _csv([[BROKEN_OFF]])
        raise


def as_json_text(chosen: SearchFilters, now: datetime) -> Iterator[str]:
    """One object with the list of `messages`, one a line; no JSON at all if it breaks off."""
    yield '{"messages": ['
    comma = "\n"
    for batch in batches(chosen, now):
        lines = [json.dumps(as_json(m, now), ensure_ascii=False) for m in batch]
        yield comma + ",\n".join(lines)
        comma = ",\n"
    yield "\n]}\n"


def batches(chosen: SearchFilters, now: datetime) -> Iterator[list[Message]]:
    """What there was at `now`, newest first; between batches no connection is held."""
    until = min(chosen.until, now) if chosen.until else now
    bounded = replace(chosen, until=until)
    before: Cursor | None = None
    while True:
        found = list(search.find_page(bounded, before=before, size=BATCH))
        db.session.remove()
        if found:
            yield found
        if len(found) < BATCH:
            return
        before = (found[-1].created_at, found[-1].id)


def _csv(rows: Iterable[Iterable[str | int | Decimal]]) -> str:
    """Lines of CSV with every text in quotes, for readers that split at `;` as well."""
    written = io.StringIO()
    csv.writer(written, quoting=csv.QUOTE_NONNUMERIC).writerows(rows)
    return written.getvalue()


def _cell(column: str, value: Any) -> str | int | Decimal:
    """A cell that no spreadsheet computes; phone numbers and all other texts stay as they are."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if column == "price":
        return Decimal(value)
    if isinstance(value, int):
        return value
    text = " ".join(value) if isinstance(value, list) else str(value)
    if column in NUMBER_COLUMNS and PHONE_NUMBER.fullmatch(text):
        return text
    return f"'{text}" if FORMULA.match(text) else text
