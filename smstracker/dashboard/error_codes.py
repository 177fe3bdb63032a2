"""The pages of the error guide: the codes that are explained here, and the search for one."""

import re
from collections.abc import Mapping, Sequence

from flask import Blueprint, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from smstracker.sms.error_guide import (
    ACTORS,
    CHARGED,
    EXPLANATIONS,
    GROUPS,
    GUIDE,
    MIN_CODE_DIGITS,
    ErrorExplanation,
    documentation_url,
    is_code,
    plain_code,
)
from smstracker.web.guards import require_sign_in

bp = Blueprint("error_guide", __name__, url_prefix="/help")
bp.before_request(require_sign_in)

MAX_QUERY_LENGTH = 60


@bp.get("/errors")
def search() -> ResponseReturnValue:
    """The guide, the entry of one code, or the entries that contain the query."""
    query = (request.args.get("q") or request.args.get("code") or "").strip()[:MAX_QUERY_LENGTH]
    words = re.sub(r"^(error|code)s?\b", "", query.lower())
    codes = words.replace(",", " ").split()
    if len(codes) > 1 and all(word in EXPLANATIONS for word in codes):
        return _render(_select_entries(codes), query=query)
    code = plain_code(words)
    if is_code(code):
        return redirect(url_for(".entry", code=code))
    if code and code.isascii() and code.isdecimal() and len(code) < MIN_CODE_DIGITS:
        longer_codes = [listed for listed in EXPLANATIONS if listed.startswith(code)]
        return _render(_select_entries(longer_codes), query=query)
    return _render(_search_entries(query), query=query)


@bp.get("/errors/<code>")
def entry(code: str) -> ResponseReturnValue:
    """Redirect to the entry of a code; a 404 if there is none."""
    code = plain_code(code)
    if code in EXPLANATIONS:
        return redirect(url_for(".search", _anchor=code))
    return _render(GUIDE, unknown=code), 404


def _select_entries(codes: Sequence[str]) -> Mapping[str, Mapping[str, ErrorExplanation]]:
    matches = {
        group: {code: reason for code, reason in entries.items() if code in codes}
        for group, entries in GUIDE.items()
    }
    return {group: entries for group, entries in matches.items() if entries}


def _search_entries(query: str) -> Mapping[str, Mapping[str, ErrorExplanation]]:
    """The entries that contain each word of `query`, by group."""
    words = query.casefold().split()
    matches = {
        group: {code: reason for code, reason in entries.items() if _contains(reason, words)}
        for group, entries in GUIDE.items()
    }
    return {group: entries for group, entries in matches.items() if entries}


def _contains(reason: ErrorExplanation, words: list[str]) -> bool:
    text = f"{reason.short} {reason.cause} {reason.action}".casefold()
    return all(word in text for word in words)


def _render(
    entries: Mapping[str, Mapping[str, ErrorExplanation]],
    query: str = "",
    unknown: str | None = None,
) -> str:
    return render_template(
        "dashboard/error_codes.html",
        guide=entries,
        groups=GROUPS,
        match_count=sum(len(group) for group in entries.values()),
        total=len(EXPLANATIONS),
        actors=ACTORS,
        charged=CHARGED,
        query=query,
        unknown=unknown,
        twilio_page=documentation_url(unknown),
    )
