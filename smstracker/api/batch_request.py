"""The request to send to many: rows as JSON, which become a file like any other."""

import csv
import io
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

from smstracker.api import problem_kinds
from smstracker.api.request_parts import FieldErrors, find_unknown
from smstracker.batches.table import MAX_COLUMNS, MAX_ROWS
from smstracker.batches.uploads import (
    KeyReusedError,
    TooManyDraftsError,
    Upload,
    pack_file,
    store_upload,
)
from smstracker.extensions import writing
from smstracker.messages.senders import offered_senders
from smstracker.models import Batch
from smstracker.models.api_tokens import Caller
from smstracker.models.batches import NAME_LENGTH
from smstracker.sms.text_fields import TextTemplate
from smstracker.sms.text_rules import length_problem, unix_lines
from smstracker.sms.typed_text import is_blank
from smstracker.web.problem_details import FieldError, ProblemError

NAMES = ("text", "rows", "from", "name", "start_count")
TO = "to"
MAX_ERRORS = 20
_SURROGATE = re.compile("[\ud800-\udfff]")
_NO_ROWS = 'Give “rows” as a list of objects: [{"to": "+1…", "name": "Ann"}].'


def queue_batch(caller: Caller, key: str, fields: Mapping[str, object]) -> tuple[Batch, bool]:
    """Save a batch to be checked, or find the one that the same request has saved.

    Returns whether it is new. Raises ProblemError or FieldErrors; nothing is saved then.
    """
    rights = caller.rights
    if rights.limit_per_minute or rights.limit_per_day:
        detail = "This token has a limit of messages of its own, so it may send no batches."
        raise ProblemError(problem_kinds.BATCH_FORBIDDEN, detail)
    upload = _BatchReader(fields, caller).read()
    if not rights.allows_sender(upload.sender):
        detail = f"This token may not send from {upload.sender}."
        raise ProblemError(problem_kinds.SENDER_FORBIDDEN, detail)
    batch_key = uuid.uuid5(uuid.UUID(int=caller.owner_id), key)
    try:
        with writing():
            return store_upload(caller.owner_id, batch_key, upload)
    except TooManyDraftsError as error:
        raise ProblemError(problem_kinds.TOO_MANY_DRAFTS, str(error)) from error
    except KeyReusedError as error:
        detail = "This Idempotency-Key was used with other content. Nothing was saved now."
        if error.batch is None:
            detail = "The batch of this Idempotency-Key was deleted here. Nothing was saved now."
        raise ProblemError(problem_kinds.KEY_REUSED, detail) from error


@dataclass
class _BatchReader:
    """Reads field by field, and keeps what is wrong."""

    fields: Mapping[str, object]
    caller: Caller
    errors: list[FieldError] = field(default_factory=list)

    def read(self) -> Upload:
        self.errors += find_unknown(self.fields, NAMES)
        text, name = self._read_template(), self._text("name") or "From a program"
        parts, sender, count = self._read_rows(), self._read_sender(), self._read_count()
        if self.errors:
            raise FieldErrors(self.errors)
        return Upload(
            name[:NAME_LENGTH],
            text,
            sender,
            pack_file(parts),
            phone_column=TO,
            start_count=count,
            token_id=self.caller.token_id,
        )

    def _fail(self, name: str, sentence: str) -> None:
        self.errors.append(FieldError(name, sentence))

    def _text(self, name: str) -> str:
        value = self.fields.get(name)
        if value is not None and not isinstance(value, str):
            self._fail(name, f'Give “{name}” as a text: "…".')
        elif isinstance(value, str) and (problem := _find_character_problem(value)):
            self._fail(name, problem)
        return value if isinstance(value, str) else ""

    def _read_template(self) -> str:
        text = unix_lines(self._text("text"))
        problem = length_problem(text) or TextTemplate(text).find_problem()
        if is_blank(text):
            problem = "Type a text."
        if problem:
            self._fail("text", problem)
        return text

    def _read_sender(self) -> str:
        offered = offered_senders()
        sender = self._text("from")
        if sender and sender not in offered:
            allowed = ", ".join(offered)
            self._fail("from", f"This app does not send from that. Use one of {allowed}.")
        allowed_senders = filter(self.caller.rights.allows_sender, offered)
        return sender or next(allowed_senders, offered[0])

    def _read_count(self) -> int | None:
        count = self.fields.get("start_count")
        if count is None or (isinstance(count, int) and not isinstance(count, bool) and count > 0):
            return count
        self._fail("start_count", "Give “start_count” as a number of messages, 1 or more.")
        return None

    def _read_rows(self) -> list[bytes]:
        rows = self.fields.get("rows")
        if not isinstance(rows, list) or not rows or not all(isinstance(r, dict) for r in rows):
            self._fail("rows", _NO_ROWS)
            return []
        if len(rows) > MAX_ROWS:
            self._fail("rows", f"Give at most {MAX_ROWS:,} rows.")
            return []
        names = list(dict.fromkeys([TO, *(name for row in rows for name in row)]))
        if len(names) > MAX_COLUMNS:
            self._fail("rows", f"Give at most {MAX_COLUMNS} different names.")
            return []
        table = [names, *([self._cell(at, row, n) for n in names] for at, row in enumerate(rows))]
        file = io.StringIO()
        csv.writer(file).writerows(table)
        return [file.getvalue().encode(errors="replace")]

    def _cell(self, position: int, row: Mapping[str, object], name: str) -> str:
        value = row.get(name)
        if value is None:
            return ""
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            text = str(value)
            if not (problem := _find_character_problem(text)):
                return text
        else:
            problem = f'Give “{name[:40]}” as a text: "…".'
        if len(self.errors) < MAX_ERRORS:
            self._fail(f"rows[{position}]", problem)
        return ""


def _find_character_problem(text: str) -> str | None:
    if "\0" in text:
        return "The text contains a character (NUL) that cannot be sent."
    if _SURROGATE.search(text):
        return "The text contains half of a character (a lone surrogate)."
    return None
