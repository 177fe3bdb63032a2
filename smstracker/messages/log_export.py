"""The filtered log as a file, made while it is sent: a batch at a time, whatever its length."""

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from threading import Lock

from flask import Response, stream_with_context

from smstracker.extensions import db, settings
from smstracker.messages import search
from smstracker.messages.filter_conditions import SearchFilters
from smstracker.messages.pagination import message_to_json
from smstracker.messages.search import Cursor
from smstracker.models import ApiToken, Message
from smstracker.web.waiting_threads import waiting_threads

BATCH_SIZE = 1_000
# An export occupies a thread of the server for as long as its reader takes.
THREADS_PER_EXPORT = 8
# Behind an HTTP/1.0 proxy a cut file looks complete, so its last line says that it is not.
INCOMPLETE_LINE = "INCOMPLETE: this export was interrupted here. Export again."
# A spreadsheet takes a cell that begins with one of these for a formula, some also after blanks:
# Numbers reads every form of = + - @ as the plain one, Excel in Japanese the full-width ones and
# the long-vowel mark (as a minus). An apostrophe keeps it a text. A text that begins with one
# gets another, so that taking the first one away always gives the text back.
STARTS = (
    *("=\u207c\u208c\ufe66\uff1d", "+\u207a\u208a\ufb29\ufe62\uff0b", "@\ufe6b\uff20"),
    *("-\u207b\u208b\u2212\ufe63\uff0d", "\u30fc\uff70"),
)
GUARDED = re.compile(rf"'|[\s\u200b\ufeff]*[{re.escape(''.join(STARTS))}]|[\t\r\n]")
# A plus and digits alone: quoted, it is a text or at worst the same digits as a number.
PHONE_NUMBER = re.compile(r"\+[0-9]{1,15}")
NUMBER_COLUMNS = frozenset({"recipient", "sender"})
COLUMNS = (
    *("id", "sid", "recipient", "sender", "messaging_service_sid", "text", "media_urls"),
    "text_deleted_at",
    *("segments", "price", "price_unit", "status", "status_label", "state", "status_at"),
    *("status_source", "simulated", "error_code", "reason", "conflicting"),
    *("created_at", "send_at", "accepted_at", "final_at"),
)
HEADER = [f"{name}_utc" if name.endswith("_at") else name for name in COLUMNS]
CONTENT_TYPES = {"csv": "text/csv; charset=utf-8", "json": "application/json"}


class TooManyExportsError(Exception):
    """There is no slot for another export; the text says why."""


class ExportSlots:
    """The exports that this process is making: at most one for each user."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._owners: set[int] = set()

    def take(self, owner_id: int, limit: int) -> None:
        """Occupy a slot. Raises TooManyExportsError."""
        with self._lock:
            if owner_id in self._owners:
                raise TooManyExportsError(
                    "Your other export is not finished. Try again when it is."
                )
            if len(self._owners) >= limit:
                raise TooManyExportsError("Too many exports are running. Try again in a minute.")
            self._owners.add(owner_id)

    def release(self, owner_id: int) -> None:
        with self._lock:
            self._owners.discard(owner_id)


_slots = ExportSlots()


def export_response(filters: SearchFilters, kind: str, now: datetime) -> Response:
    """The file, of the kind "csv" or "json". Raises TooManyExportsError."""
    lines = csv_lines(filters, now) if kind == "csv" else json_lines(filters, now)
    return stream_file(filters.owner_id, lines, kind, f"messages-{now:%Y-%m-%d}")


def stream_file(owner_id: int, lines: Iterator[str], kind: str, name: str) -> Response:
    """A file that is made while it is sent: one at a time for each user, and few in all.

    `name` has no ending. Raises TooManyExportsError.
    """
    _slots.take(owner_id, max(settings().web_threads // THREADS_PER_EXPORT, 1))
    slot = ExitStack()
    slot.callback(_slots.release, owner_id)
    threads = waiting_threads()
    if not threads.enter():
        slot.close()
        raise TooManyExportsError("Too many wait for something slow. Try again in a minute.")
    slot.callback(threads.leave)
    body = stream_with_context(_hold_slot(slot, lines))
    response = Response(body, content_type=CONTENT_TYPES[kind])
    # Also closes when the reader disconnects before the first line.
    response.call_on_close(slot.close)
    response.headers["Content-Disposition"] = f'attachment; filename="{name}.{kind}"'
    return response


def _hold_slot(slot: ExitStack, lines: Iterator[str]) -> Iterator[str]:
    with slot:
        yield from lines


def csv_lines(filters: SearchFilters, now: datetime) -> Iterator[str]:
    """The CSV file, with a byte order mark: without it, Excel reads Latin-1.

    Its last column is the name of the token by which a program has sent the message.
    """
    yield "\ufeff" + format_csv([[*HEADER, "token"]])
    try:
        for batch in read_batches(filters, now):
            names = ApiToken.read_names(filters.owner_id)
            db.session.remove()
            rows = [message_to_json(message, now) for message in batch]
            tokens = [guard_text(names.get(message.token_id or 0, "")) for message in batch]
            yield format_csv(
                [*format_cells(row), token] for row, token in zip(rows, tokens, strict=True)
            )
    except Exception:
        yield format_csv([[INCOMPLETE_LINE]])
        raise


def json_lines(filters: SearchFilters, now: datetime) -> Iterator[str]:
    """A JSON object with the list `messages`, one a line; invalid JSON if it is interrupted."""
    yield '{"messages": ['
    comma = "\n"
    for batch in read_batches(filters, now):
        lines = [json.dumps(message_to_json(m, now), ensure_ascii=False) for m in batch]
        yield comma + ",\n".join(lines)
        comma = ",\n"
    yield "\n]}\n"


def read_batches(filters: SearchFilters, now: datetime) -> Iterator[list[Message]]:
    """The messages until `now`, newest first; no connection is held between batches."""
    until = min(filters.until, now) if filters.until else now
    bounded = replace(filters, until=until)
    before: Cursor | None = None
    while True:
        messages = list(search.find_page(bounded, before=before, size=BATCH_SIZE))
        db.session.remove()
        if messages:
            yield messages
        if len(messages) < BATCH_SIZE:
            return
        before = (messages[-1].created_at, messages[-1].id)


def format_csv(rows: Iterable[Iterable[str | int | Decimal]]) -> str:
    """Lines of CSV with every text in quotes, for readers that split at `;` as well."""
    buffer = io.StringIO()
    csv.writer(buffer, quoting=csv.QUOTE_NONNUMERIC).writerows(rows)
    return buffer.getvalue()


def format_cells(row: Mapping[str, object]) -> list[str | int | Decimal]:
    """The cells of a message that is given as JSON, in the order of COLUMNS."""
    return [_cell(name, row[name]) for name in COLUMNS]


def _cell(column: str, value: object) -> str | int | Decimal:
    """A cell that no spreadsheet computes; phone numbers and all other texts stay as they are."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if column.endswith("_at"):  # the one form that all spreadsheets read as a time
        return f"{datetime.fromisoformat(str(value)):%Y-%m-%d %H:%M:%S}"
    if column == "price":
        return Decimal(str(value))
    if isinstance(value, int):
        return value
    text = " ".join(value) if isinstance(value, list) else str(value)
    if column in NUMBER_COLUMNS and PHONE_NUMBER.fullmatch(text):
        return text
    return guard_text(text)


def guard_text(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula."""
    return f"'{text}" if GUARDED.match(text) else text
