"""The page of alerts, for administrators."""

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user

from smstracker.alerts import alert_page
from smstracker.alerts.notice import describe_end
from smstracker.alerts.rules import QUIET_TIME, RULES
from smstracker.clock import utcnow
from smstracker.extensions import writing
from smstracker.models.alerts import MUTE_HOURS, WEBHOOK
from smstracker.models.audit_log import AuditAction, record_audit
from smstracker.plurals import format_count
from smstracker.web.guards import require_administrator
from smstracker.web.row_ids import parse_row_id

bp = Blueprint("alerts", __name__, url_prefix="/alerts")
bp.before_request(require_administrator)


@bp.get("")
def overview() -> ResponseReturnValue:
    now = utcnow()
    return render_template(
        "alerts/alerts.html",
        page=alert_page.read_alert_page(now),
        rules=RULES,
        describe_end=describe_end,
        quiet_time=QUIET_TIME,
        mute_hours=MUTE_HOURS,
        webhook=WEBHOOK,
        now=now,
    )


@bp.post("/mute")
def mute() -> ResponseReturnValue:
    """Mute an open alert for some hours; with 0, end that. The focus stays in its row."""
    alert_id = parse_row_id(request.form["id"])
    hours = {str(hours): hours for hours in (0, *MUTE_HOURS)}.get(request.form["hours"])
    if alert_id is None or hours is None:
        abort(400)
    with writing():
        alert = alert_page.mute(alert_id, hours, utcnow())
        title = RULES[alert.rule].title(alert.subject) if alert else ""
        if alert:
            action = AuditAction.ALERT_MUTED if hours else AuditAction.ALERT_UNMUTED
            record_audit(action, actor=current_user.email, subject=title)
    if alert is None:
        flash("This alert is over, so there is nothing to mute.")
    elif hours:
        flash(f"“{title}” is muted for {format_count(hours, 'hour')}.")
    else:
        flash(f"“{title}” is no longer muted.")
    row = f"alert-{alert_id}" if alert else None
    return redirect(url_for(".overview", _anchor=row), 303)
