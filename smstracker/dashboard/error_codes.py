"""The error guide: every code that is explained here, for whoever is signed in."""

import re
from collections.abc import Mapping, Sequence

from flask import Blueprint, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from smstracker.auth.sign_in_guard import require_sign_in
from smstracker.sms.error_guide import (
    CHARGED,
    GROUPS,
    GUIDE,
    REASONS,
    SHORTEST_CODE,
    WHO,
    ErrorExplanation,
    documentation,
    is_code,
    plain_code,
)

bp = Blueprint("help", __name__, url_prefix="/help")
bp.before_request(require_sign_in)

LONGEST_QUERY = 60


@bp.get("/errors")
def errors() -> ResponseReturnValue:
    """The guide, one code of it, or the entries that contain what was typed."""
    query = (request.args.get("q") or request.args.get("code") or "").strip()[:LONGEST_QUERY]
    words = re.sub(r"^(error|code)s?\b", "", query.lower())
    codes = words.replace(",", " ").split()
    if len(codes) > 1 and all(word in REASONS for word in codes):
        return _page(_select_entries(codes), query=query)
    code = plain_code(words)
    if is_code(code):
        return redirect(url_for(".error", code=code))
    if code and code.isascii() and code.isdecimal() and len(code) < SHORTEST_CODE:
        beginning = [known for known in REASONS if known.startswith(code)]
        return _page(_select_entries(beginning), query=query)
    return _page(_search_entries(query), query=query)


@bp.get("/errors/<code>")
def error(code: str) -> ResponseReturnValue:
    """Lead to the code's place in the guide, or say that it is not there."""
    code = plain_code(code)
    if code in REASONS:
        return redirect(url_for(".errors", _anchor=code))
    return _page(GUIDE, unknown=code), 404


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
    text = f"{reason.short} {reason.what} {reason.todo}".casefold()
    return all(word in text for word in words)


def _page(
    entries: Mapping[str, Mapping[str, ErrorExplanation]],
    query: str = "",
    unknown: str | None = None,
) -> str:
    return render_template(
        "dashboard/error_codes.html",
        guide=entries,
        groups=GROUPS,
        shown=sum(len(group) for group in entries.values()),
        total=len(REASONS),
        who=WHO,
        charged=CHARGED,
        query=query,
        unknown=unknown,
        more=documentation(unknown),
    )
