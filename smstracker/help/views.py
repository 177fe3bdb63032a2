"""The error guide: every code that is explained here, for whoever is signed in."""

from collections.abc import Mapping

from flask import Blueprint, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from smstracker.auth.gate import only_signed_in
from smstracker.reasons import (
    CHARGED,
    GROUPS,
    GUIDE,
    REASONS,
    WHO,
    Reason,
    documentation,
    plain_code,
)

bp = Blueprint("help", __name__, url_prefix="/help")
bp.before_request(only_signed_in)

LONGEST_QUERY = 60


@bp.get("/errors")
def errors() -> ResponseReturnValue:
    """The guide, one code of it, or the entries that contain what was typed."""
    query = (request.args.get("q") or request.args.get("code") or "").strip()[:LONGEST_QUERY]
    code = plain_code(query.lower().removeprefix("error"))
    if code.isdecimal():
        return redirect(url_for(".error", code=code))
    return _page(_entries_with(query), query=query)


@bp.get("/errors/<code>")
def error(code: str) -> ResponseReturnValue:
    """Leads to the code's place in the guide; one that is not there gets told so."""
    code = plain_code(code)
    if code in REASONS:
        return redirect(url_for(".errors", _anchor=code))
    return _page(GUIDE, unknown=code), 404


def _entries_with(query: str) -> Mapping[str, Mapping[str, Reason]]:
    """The entries that contain each word of `query`, by group."""
    words = query.casefold().split()
    matches = {
        group: {code: reason for code, reason in entries.items() if _contains(reason, words)}
        for group, entries in GUIDE.items()
    }
    return {group: entries for group, entries in matches.items() if entries}


def _contains(reason: Reason, words: list[str]) -> bool:
    text = f"{reason.short} {reason.what} {reason.todo}".casefold()
    return all(word in text for word in words)


def _page(
    entries: Mapping[str, Mapping[str, Reason]], query: str = "", unknown: str | None = None
) -> str:
    return render_template(
        "help/errors.html",
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
