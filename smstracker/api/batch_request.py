"""The request to send to many: a text, and rows of texts that are stored as they are."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeGuard

from smstracker.api import problem_kinds
from smstracker.api.request_parts import FieldErrors, find_unknown
from smstracker.api.sender_choice import check_sender, choose_sender
from smstracker.batches.phone_column import quote_names
from smstracker.batches.program_rows import TO, pack_rows
from smstracker.batches.table import MAX_COLUMNS, MAX_ROW_CHARACTERS, MAX_ROWS
from smstracker.batches.uploads import (
    KeyReusedError,
    PackedFile,
    TooManyDraftsError,
    Upload,
    store_upload,
)
from smstracker.extensions import writing
from smstracker.models import Batch
from smstracker.models.api_tokens import Caller
from smstracker.models.batches import COLUMN_NAME_LENGTH, NAME_LENGTH
from smstracker.sms.text_fields import TextTemplate, field_key
from smstracker.sms.text_rules import character_problem, length_problem, unix_lines
from smstracker.sms.typed_text import is_blank
from smstracker.web.problem_details import FieldError, ProblemError

NAMES = ("text", "rows", "from", "name", "start_count", "repeats", "again")
MAX_ERRORS = 20
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
    check_sender(rights, upload.sender)
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
        rows = self._read_rows(TextTemplate(text))
        sender, count = self._read_sender(), self._read_count()
        allows_repeats, allows_equal = self._read_flag("repeats"), self._read_flag("again")
        if self.errors:
            raise FieldErrors(self.errors)
        return Upload(
            name[:NAME_LENGTH],
            text,
            sender,
            rows,
            phone_column=TO,
            start_count=count,
            allows_repeats=allows_repeats,
            allows_equal=allows_equal,
            token_id=self.caller.token_id,
        )

    def _fail(self, name: str, sentence: str) -> None:
        self.errors.append(FieldError(name, sentence))

    def _text(self, name: str) -> str:
        value = self.fields.get(name)
        if value is not None and not isinstance(value, str):
            self._fail(name, f'Give “{name}” as a text: "…".')
        elif isinstance(value, str) and (problem := character_problem(value)):
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
        try:
            return choose_sender(self.fields.get("from"), self.caller.rights)
        except ValueError as error:
            self._fail("from", str(error))
            return ""

    def _read_count(self) -> int | None:
        count = self.fields.get("start_count")
        if count is None or (_is_integer(count) and 1 <= count <= MAX_ROWS):
            return count
        problem = f"Give “start_count” as a number of messages, from 1 to {MAX_ROWS:,}."
        self._fail("start_count", problem)
        return None

    def _read_flag(self, name: str) -> bool:
        flag = self.fields.get(name)
        if flag is not None and not isinstance(flag, bool):
            self._fail(name, f"Give “{name}” as true or false.")
        return flag is True

    def _read_rows(self, template: TextTemplate) -> PackedFile:
        rows = self.fields.get("rows")
        names = [TO]
        if not isinstance(rows, list) or not rows or not all(isinstance(r, dict) for r in rows):
            self._fail("rows", _NO_ROWS)
            rows = []
        elif len(rows) > MAX_ROWS:
            self._fail("rows", f"Give at most {MAX_ROWS:,} rows.")
            rows = []
        else:
            names = list(dict.fromkeys([TO, *(name for row in rows for name in row)]))
            if problem := _find_name_problem(names, template):
                self._fail("rows", problem)
        return pack_rows(names, (self._read_row(at, row) for at, row in enumerate(rows)))

    def _read_row(self, position: int, row: Mapping[str, object]) -> dict[str, str]:
        texts = {name: str(value) for name, value in row.items() if value is not None}
        problems = [problem for cell in row.items() if (problem := _find_value_problem(*cell))]
        if sum(map(len, texts.values())) > MAX_ROW_CHARACTERS:
            problems.append(f"It holds more than {MAX_ROW_CHARACTERS:,} characters.")
        if len(self.errors) < MAX_ERRORS:
            self.errors += [FieldError(f"rows[{position}]", problem) for problem in problems]
        return texts


def _is_integer(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _find_value_problem(name: str, value: object) -> str | None:
    """Why a value is no text; a whole number, which is written in one way only, is one.

    A number with a fraction is not: 1.10 would be sent as 1.1 by most programs.
    """
    if value is None or (_is_integer(value) and name != TO):
        return None
    if not isinstance(value, str):
        return f'Give “{name[:40]}” as a text: "…".'
    return character_problem(value, f"“{name[:40]}”")


def _find_name_problem(names: Sequence[str], template: TextTemplate) -> str | None:
    """Why the names of all rows are wrong, or do not fit the text."""
    if len(names) > MAX_COLUMNS:
        return f"Give at most {MAX_COLUMNS} different names."
    if max(map(len, names)) > COLUMN_NAME_LENGTH:
        return f"A name has more than {COLUMN_NAME_LENGTH} characters."
    if problem := character_problem("".join(names), "A name"):
        return problem
    names_by_key: dict[str, str] = {}
    for name in names:
        key = field_key(name)
        other = names_by_key.setdefault(key, name)
        if other != name and key in (TO, *template.fields):
            return (
                f"“{other}” and “{name}” are one name, whatever their capitals, spaces and "
                "hyphens. Use one of them."
            )
    missing = [name for key, name in template.fields.items() if key and key not in names_by_key]
    if missing:
        return f"No row has {quote_names(missing)}. The names are: {quote_names(names)}."
    return None
