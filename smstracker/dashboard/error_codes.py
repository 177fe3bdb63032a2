"""The pages of the error guide: the codes that are explained here, and the search for one."""

import re
from collections.abc import Callable, Mapping

from flask import Blueprint, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from smstracker.sms import error_guide
from smstracker.sms.error_guide import ErrorExplanation, explanations, plain_code
from smstracker.web.guards import require_sign_in

bp = Blueprint("error_guide", __name__, url_prefix="/help")
bp.before_request(require_sign_in)

MAX_QUERY_LENGTH = 60
Guide = Mapping[str, Mapping[str, ErrorExplanation]]  # the explanations by group and code


@bp.get("/errors")
def search() -> ResponseReturnValue:
    """The guide, the entry of one code, or the entries that contain the query."""
    query = (request.args.get("q") or request.args.get("code") or "").strip()[:MAX_QUERY_LENGTH]
    words = re.sub(r"^(error|code)s?\b", "", query.lower())
    codes = words.replace(",", " ").split()
    if len(codes) > 1 and all(word in explanations() for word in codes):
        return _render(_filter_guide(lambda code, _reason: code in codes), query=query)
    code = plain_code(words)
    if error_guide.is_code(code):
        return redirect(url_for(".entry", code=code))
    if code.isascii() and code.isdecimal() and len(code) < error_guide.MIN_CODE_DIGITS:
        return _render(_filter_guide(lambda longer, _reason: longer.startswith(code)), query=query)
    searched = query.casefold().split()
    return _render(_filter_guide(lambda _code, reason: _contains(reason, searched)), query=query)


@bp.get("/errors/<code>")
def entry(code: str) -> ResponseReturnValue:
    """Redirect to the entry of a code; a 404 if there is none."""
    code = plain_code(code)
    if code in explanations():
        return redirect(url_for(".search", _anchor=code))
    return _render(error_guide.guide(), unknown=code), 404


def _filter_guide(matches: Callable[[str, ErrorExplanation], bool]) -> Guide:
    groups = {
        group: {code: reason for code, reason in entries.items() if matches(code, reason)}
        for group, entries in error_guide.guide().items()
    }
    return {group: entries for group, entries in groups.items() if entries}


def _contains(reason: ErrorExplanation, words: list[str]) -> bool:
    text = f"{reason.short} {reason.cause} {reason.action}".casefold()
    return all(word in text for word in words)


def _render(entries: Guide, query: str = "", unknown: str | None = None) -> str:
    return render_template(
        "dashboard/error_codes.html",
        guide=entries,
        groups=error_guide.GROUPS,
        match_count=sum(len(group) for group in entries.values()),
        total=len(explanations()),
        actors=error_guide.ACTORS,
        charged=error_guide.CHARGED,
        query=query,
        unknown=unknown,
        twilio_page=error_guide.documentation_url(unknown),
    )
