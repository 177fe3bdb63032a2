"""The page on the connection to Twilio, for administrators."""

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from smstracker.clock import utcnow
from smstracker.connection import refused_page, wording
from smstracker.connection.banner import current_banner
from smstracker.connection.report import build_report
from smstracker.connection.summary import summarize
from smstracker.extensions import db
from smstracker.refused.replay import forecast, still_refused
from smstracker.refused.replay import replay as replay_refused
from smstracker.web.guards import require_administrator

bp = Blueprint("connection", __name__, url_prefix="/callbacks")
bp.before_request(require_administrator)


@bp.get("")
def callbacks() -> ResponseReturnValue:
    now, kind = utcnow(), request.args.get("kind")
    if kind is not None and kind not in refused_page.KINDS:
        abort(404)
    numbers = build_report(now)
    return render_template(
        "connection/callbacks.html",
        report=numbers,
        sentence=summarize(numbers),
        page=refused_page.read_refused_page(kind, _row_id(request.args.get("before"))),
        forecast=forecast(db.session.connection()),
        kind=kind,
        quarantine=refused_page,
        say=wording,
        now=now,
    )


@bp.post("/replay")
def replay() -> ResponseReturnValue:
    """Apply what verifies by now: one callback, or all that are still refused."""
    chosen = _row_id(request.form.get("id"))
    # It commits by itself, a batch at a time: one transaction for all would keep callbacks waiting.
    ids = None if chosen is None else [chosen]
    done = replay_refused(ids)
    current_banner().forget()
    reasons = [(refused_page.visible(sentence), count) for sentence, count in still_refused(ids)]
    flash(wording.replayed(done.applied, done.refused, reasons))
    return redirect(url_for(".callbacks"), 303)


def _row_id(text: str | None) -> int | None:
    """The row that a request names, None if it names none; what cannot be one is a 404."""
    if text is None:
        return None
    found = refused_page.row_id(text)
    return abort(404) if found is None else found
