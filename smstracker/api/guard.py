"""The one guard of the API: a bearer token, never a cookie."""

from contextlib import suppress
from typing import cast

from flask import Flask, current_app, g, request
from flask.typing import ResponseReturnValue

from smstracker.api import problem_kinds
from smstracker.clock import utcnow
from smstracker.database.engine import UNAVAILABLE
from smstracker.extensions import writing
from smstracker.models.api_tokens import ApiToken, Caller, TokenEnd, find_caller
from smstracker.models.token_secret import is_whole
from smstracker.web.guards import open_to_all
from smstracker.web.problem_details import TOO_MANY_REQUESTS, Problem, ProblemError
from smstracker.web.throttle import OwnerBuckets

BUCKETS = "smstracker_api_buckets"
# Requests a second of one user to one process, and after a quiet time.
READS_PER_SECOND, READS_AT_ONCE = 50.0, 200.0
SENDS_PER_SECOND, SENDS_AT_ONCE = 600.0, 1200.0
_ENDS = {
    TokenEnd.UNKNOWN: (problem_kinds.TOKEN_UNKNOWN, "There is no such token here."),
    TokenEnd.REVOKED: (problem_kinds.TOKEN_REVOKED, "The token was revoked."),
    TokenEnd.EXPIRED: (problem_kinds.TOKEN_EXPIRED, "The token has expired."),
    TokenEnd.SHUT_OUT: (problem_kinds.OWNER_SHUT_OUT, "The owner of the token may not sign in."),
}


def init_app(app: Flask) -> None:
    app.extensions[BUCKETS] = {
        "GET": OwnerBuckets(READS_PER_SECOND, READS_AT_ONCE),
        "POST": OwnerBuckets(SENDS_PER_SECOND, SENDS_AT_ONCE),
    }


def require_token() -> ResponseReturnValue | None:
    """Guard the blueprint: find the caller, or raise the 401 or 429."""
    if open_to_all.value_of_current():
        return None
    caller = find_caller(_read_secret(), utcnow())
    if isinstance(caller, TokenEnd):
        raise _unauthorized(*_ENDS[caller])
    g.api_caller = caller
    buckets = cast(dict[str, OwnerBuckets], current_app.extensions[BUCKETS])
    if not buckets["POST" if request.method == "POST" else "GET"].take(caller.owner_id):
        detail = "This user's programs ask too often."
        raise ProblemError(TOO_MANY_REQUESTS, detail, headers={"Retry-After": "1"})
    if caller.is_use_unnoted:
        with suppress(*UNAVAILABLE), writing():
            ApiToken.note_use(caller.token_id)
    return None


def current_caller() -> Caller:
    """Whose token the current request has."""
    return cast(Caller, g.api_caller)


def sending_caller() -> Caller:
    """Whose token the current request has, if it may send. Raises ProblemError."""
    caller = current_caller()
    if not caller.rights.may_send:
        raise ProblemError(problem_kinds.READ_ONLY, "This token may only read messages.")
    return caller


def _read_secret() -> str:
    scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
    secret = secret.strip()
    if scheme.lower() != "bearer" or not secret:
        raise _unauthorized(
            problem_kinds.TOKEN_MISSING, "The request has no token.", is_missing=True
        )
    if not is_whole(secret):
        raise _unauthorized(
            problem_kinds.TOKEN_INVALID, "The token is not whole: its checksum differs."
        )
    return secret


def _unauthorized(problem: Problem, detail: str, is_missing: bool = False) -> ProblemError:
    challenge = 'Bearer realm="smstracker"'
    challenge += "" if is_missing else ', error="invalid_token"'
    return ProblemError(problem, detail, headers={"WWW-Authenticate": challenge})
