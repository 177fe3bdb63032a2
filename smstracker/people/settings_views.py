"""The page of one's own settings and sessions."""

from flask import Blueprint, flash, redirect, render_template, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user
from sqlalchemy import ColumnElement, delete, false, func, select

from smstracker.clock import utcnow
from smstracker.database.engine import affected_rows
from smstracker.extensions import db, writing
from smstracker.models import ApiToken, User, UserSession
from smstracker.models.audit_log import AuditAction, record_audit
from smstracker.people.forms import SettingsForm
from smstracker.plurals import format_count
from smstracker.web.form_drafts import redirect_accepted
from smstracker.web.guards import require_sign_in
from smstracker.web.time_zones import place_names

SHOWN_SESSIONS = 30

bp = Blueprint("settings", __name__, url_prefix="/settings")
bp.before_request(require_sign_in)


@bp.get("")
def settings() -> ResponseReturnValue:
    return _page(SettingsForm(obj=current_user), 200)


@bp.post("")
def save() -> ResponseReturnValue:
    form = SettingsForm()
    if not form.validate():
        return _page(form, 422)
    user_id = current_user.id
    with writing():
        user = db.session.get_one(User, user_id)
        form.populate_obj(user)
        user.time_zone = user.time_zone or None
    flash("Your settings are saved.")
    return redirect_accepted(url_for(".settings"))


@bp.post("/sessions/<int:session_id>/end")
def end_session(session_id: int) -> ResponseReturnValue:
    """End one of one's own sessions; another's is left alone."""
    return _end(UserSession.id == session_id if session_id < 2**31 else None)


@bp.post("/sessions/end-others")
def end_other_sessions() -> ResponseReturnValue:
    return _end(UserSession.id != current_user.session_id)


def _end(condition: ColumnElement[bool] | None) -> ResponseReturnValue:
    email, is_own = current_user.email, UserSession.user_id == current_user.id
    with writing():
        ended = delete(UserSession).where(is_own, false() if condition is None else condition)
        count = affected_rows(db.session.execute(ended))
        if count:
            record_audit(AuditAction.ENDED_SESSIONS, actor=email, subject=f"{count:,} of them")
    flash(f"{format_count(count, 'session is', 'sessions are')} ended.")
    return redirect(url_for(".settings"), 303)


def _page(form: SettingsForm, code: int) -> ResponseReturnValue:
    newest = UserSession.select_newest(current_user)
    count = db.session.scalar(select(func.count()).select_from(newest.subquery())) or 0
    html = render_template(
        "people/settings.html",
        form=form,
        zones=sorted(place_names()),
        sessions=db.session.scalars(newest.limit(SHOWN_SESSIONS)).all(),
        count=count,
        tokens=db.session.scalars(ApiToken.select_unrevoked(current_user.id)).all(),
        now=utcnow(),
    )
    return html, code
