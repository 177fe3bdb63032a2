"""The parts of a request to the API: its key, its JSON, its arguments."""

import re
from collections.abc import Collection, Mapping

from flask import request

from smstracker.api import problem_kinds
from smstracker.api.strict_json import JsonError, parse_object
from smstracker.extensions import db
from smstracker.web.problem_details import FieldError, ProblemError
from smstracker.web.security import reading_body

MAX_WAIT_SECONDS = 30
KEY = re.compile(r"[ -+\--~]{1,255}")  # several header lines come joined by commas
PREFER_WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?(\d{1,6})\"?\s*(?=$|[,;])", re.IGNORECASE)
WAIT = re.compile(r"[1-9][0-9]{0,5}", re.ASCII)


class FieldErrors(Exception):  # noqa: N818 - they are several
    """What is wrong with the fields of a request."""

    def __init__(self, errors: list[FieldError]) -> None:
        super().__init__("fields are not valid")
        self.errors = errors


def read_key() -> str:
    """The Idempotency-Key. Raises ProblemError."""
    key = request.headers.get("Idempotency-Key", "").strip()
    if not key:
        raise ProblemError(
            problem_kinds.KEY_MISSING, "The header Idempotency-Key is missing or empty."
        )
    if not KEY.fullmatch(key):
        detail = "The Idempotency-Key is too long, is no plain ASCII, has a comma, or came twice."
        raise ProblemError(problem_kinds.KEY_INVALID, detail)
    return key


def read_json() -> dict[str, object]:
    """The fields of the JSON object that is the content. Raises ProblemError."""
    if request.mimetype != "application/json":
        raise ProblemError(problem_kinds.NOT_JSON, "The content type is not application/json.")
    encoding = request.headers.get("Content-Encoding", "").strip()
    if encoding.lower() not in ("", "identity"):
        detail = f"The content is encoded: Content-Encoding is “{encoding[:40]}”."
        raise ProblemError(problem_kinds.ENCODED, detail, headers={"Accept-Encoding": "identity"})
    db.session.rollback()  # the database ends a transaction that waits for a slow line
    with reading_body():
        content = request.get_data()
    try:
        return parse_object(content)
    except JsonError as error:
        raise ProblemError(problem_kinds.INVALID_JSON, str(error)) from error


def find_unknown(fields: Mapping[str, object], names: Collection[str]) -> list[FieldError]:
    """An error for each field that there is not."""
    unknown = [name[:40] for name in fields if name not in names]
    return [FieldError(name, f"There is no field “{name}”.") for name in unknown]


def preferred_wait() -> int:
    """The seconds that the header Prefer asks to wait, at most MAX_WAIT_SECONDS; else 0."""
    match = PREFER_WAIT.search(request.headers.get("Prefer", ""))
    return min(int(match[1]), MAX_WAIT_SECONDS) if match else 0


def requested_wait() -> int:
    """The argument `wait` in seconds, 0 without it. Raises ProblemError."""
    wait = request.args.get("wait")
    if wait is None:
        return 0
    if not WAIT.fullmatch(wait) or int(wait) > MAX_WAIT_SECONDS:
        raise _invalid_argument("wait", f"Give “wait” as a number from 1 to {MAX_WAIT_SECONDS}.")
    return int(wait)


def check_arguments(*names: str) -> None:
    """Refuse an argument that is unknown, repeated or empty. Raises ProblemError."""
    for name, values in request.args.lists():
        if name not in names:
            raise _invalid_argument(name[:40], f"There is no argument “{name[:40]}”.")
        if len(values) > 1:
            raise _invalid_argument(name, f"Give “{name}” only once.")
        if not values[0].strip():
            raise _invalid_argument(name, f"Give “{name}” a value, or leave it out.")


def _invalid_argument(name: str, sentence: str) -> ProblemError:
    errors = [FieldError(name, sentence)]
    return ProblemError(problem_kinds.INVALID_ARGUMENT, sentence, errors=errors)
