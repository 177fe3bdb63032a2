"""Errors for programs as problem details (RFC 9457), with a stable code and what to do."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from flask import request

from smstracker.extensions import settings

API_PREFIX = "/api/"
MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:smstracker:problem:"
NO_HEADERS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Problem:
    """A kind of problem: its status, its title, and what to do unless the occurrence says more."""

    code: str
    status: int
    title: str
    what_to_do: str


BAD_REQUEST = Problem(
    "bad_request",
    400,
    "The request cannot be read",
    "Correct the request. The same one fails again.",
)
FORBIDDEN = Problem("forbidden", 403, "Not allowed", "Ask an administrator.")
NOT_FOUND = Problem(
    "not_found",
    404,
    "There is nothing here",
    "Check the address. What belongs to another user is not found either.",
)
METHOD_NOT_ALLOWED = Problem(
    "method_not_allowed", 405, "Not possible here", "Use one of the methods in the header Allow."
)
TOO_LARGE = Problem(
    "too_large", 413, "The request is too large", "Send at most 128 KB; for a batch, 8 MB."
)
TOO_MANY_REQUESTS = Problem(
    "too_many_requests",
    429,
    "Too many requests",
    "Repeat the request after the seconds in the header Retry-After.",
)
SERVER_ERROR = Problem(
    "server_error",
    500,
    "Something went wrong here",
    "Repeat the request with the same Idempotency-Key. If it fails again, tell whoever runs "
    "smstracker the X-Request-Id.",
)
UNAVAILABLE = Problem(
    "unavailable",
    503,
    "Not possible right now",
    "Repeat the request with the same Idempotency-Key after the seconds in the header Retry-After.",
)
_BY_STATUS = {
    problem.status: problem
    for problem in (
        *(BAD_REQUEST, FORBIDDEN, NOT_FOUND, METHOD_NOT_ALLOWED, TOO_LARGE),
        *(TOO_MANY_REQUESTS, SERVER_ERROR, UNAVAILABLE),
    )
}


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with one field or argument, in a sentence."""

    field: str
    sentence: str


@dataclass(slots=True)
class ProblemError(Exception):
    """A problem of this request; `detail` says in a sentence what happened."""

    problem: Problem
    detail: str
    what_to_do: str | None = None
    errors: Sequence[FieldError] = ()
    headers: Mapping[str, str] = field(default_factory=dict)


ProblemAnswer = tuple[str, int, dict[str, str]]


def is_for_api() -> bool:
    """Whether the request is one of a program to the API, also to an address that it lacks."""
    return request.path.startswith(API_PREFIX)


def answer_problem(error: ProblemError) -> ProblemAnswer:
    """The answer to a request that failed; it reads no database, which may be down."""
    problem = error.problem
    body: dict[str, object] = {
        "type": TYPE_PREFIX + problem.code,
        "title": problem.title,
        "status": problem.status,
        "detail": error.detail,
        "code": problem.code,
        "what_to_do": error.what_to_do or problem.what_to_do,
        "simulated": settings().demo,
    }
    if error.errors:
        body["errors"] = [{"field": e.field, "message": e.sentence} for e in error.errors]
    return json.dumps(body), problem.status, {"Content-Type": MEDIA_TYPE, **error.headers}


def problem_of_status(status: int, title: str, advice: str | None = None) -> ProblemAnswer:
    """The answer to an error that is no problem of the API alone, such as a wrong address."""
    problem = _BY_STATUS.get(status, BAD_REQUEST)
    if problem.status != status:
        problem = Problem(f"http_{status}", status, title, BAD_REQUEST.what_to_do)
    return answer_problem(ProblemError(problem, advice or f"{problem.title}."))
