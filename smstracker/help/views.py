"""The error guide: every code that is explained here, for whoever is signed in."""

from flask import Blueprint, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from smstracker.auth.gate import only_signed_in
from smstracker.reasons import AGAIN, CHARGED, REASONS, WHO, documentation

bp = Blueprint("help", __name__, url_prefix="/help")
bp.before_request(only_signed_in)


@bp.get("/errors")
def errors() -> ResponseReturnValue:
    code = request.args.get("code", "").strip()[:16]
    if code:
        return redirect(url_for(".error", code=code))
    return _guide()


@bp.get("/errors/<code>")
def error(code: str) -> ResponseReturnValue:
    """Leads to the code's place in the guide; one that is not there gets told so."""
    if code in REASONS:
        return redirect(url_for(".errors", _anchor=code))
    return _guide(code), 404


def _guide(unknown: str | None = None) -> str:
    return render_template(
        "help/errors.html",
        reasons=REASONS,
        who=WHO,
        again=AGAIN,
        charged=CHARGED,
        unknown=unknown,
        more=documentation(unknown),
    )
