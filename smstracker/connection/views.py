"""The page of the connection to Twilio, for administrators."""

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user
from sqlalchemy import select

from smstracker.clock import utcnow
from smstracker.connection import refused_page, wording
from smstracker.connection.banner import current_banner
from smstracker.connection.report import build_report
from smstracker.connection.summary import summarize
from smstracker.extensions import db
from smstracker.messages.send_pauses import find_pauses
from smstracker.models import RefusedCallback
from smstracker.refused.replay import is_applicable, still_refused
from smstracker.refused.replay import replay as replay_refused
from smstracker.web.guards import require_administrator
from smstracker.web.row_ids import parse_row_id

bp = Blueprint("connection", __name__, url_prefix="/callbacks")
bp.before_request(require_administrator)


@bp.get("")
def callbacks() -> ResponseReturnValue:
    now, kind = utcnow(), request.args.get("kind")
    if kind is not None and kind not in refused_page.IS_PLAUSIBLE_BY_KIND:
        abort(404)
    report = build_report(now)
    return render_template(
        "connection/callbacks.html",
        report=report,
        refusal_waits=db.session.scalar(select(RefusedCallback.select_unapplied(None).exists())),
        summary=summarize(report),
        page=refused_page.read_refused_page(kind, parse_row_id(request.args.get("before"))),
        kind=kind,
        is_applicable=is_applicable,
        refused_page=refused_page,
        pauses=find_pauses(now),
        wording=wording,
        now=now,
    )


@bp.post("/replay")
def replay() -> ResponseReturnValue:
    """Apply what verifies now: one callback, or all that are still refused."""
    row_id = parse_row_id(request.form.get("id"))
    # Commits by itself in batches: one transaction for all would keep callbacks waiting.
    ids = None if row_id is None else [row_id]
    result = replay_refused(ids, current_user.email)
    current_banner().invalidate()
    reasons = [(refused_page.sanitize(sentence), count) for sentence, count in still_refused(ids)]
    counts = (result.applied, result.refused, reasons, result.applied_by_others)
    flash(wording.describe_replay(*counts))
    return redirect(url_for(".callbacks"), 303)
