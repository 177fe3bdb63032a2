"""Whether deliveries are healthy: one's own messages, or everyone's totals for administrators."""

from flask import Blueprint, abort, render_template, request
from flask.typing import ResponseReturnValue
from flask_login import current_user

from smstracker.clock import utcnow
from smstracker.extensions import login_manager
from smstracker.insights.figures import money
from smstracker.insights.page import insights
from smstracker.period import PeriodError, read_period

bp = Blueprint("insights", __name__, url_prefix="/insights")


@bp.before_request
def only_signed_in() -> ResponseReturnValue | None:
    if current_user.is_authenticated:
        return None
    unauthorized: ResponseReturnValue = login_manager.unauthorized()
    return unauthorized


@bp.get("")
def overview() -> ResponseReturnValue:
    everyone = "everyone" in request.args
    if everyone and not current_user.administrator:
        abort(404)
    now, problem = utcnow(), None
    try:
        period = read_period(request.args, now, "7d")
    except PeriodError as error:
        period, problem = read_period({}, now, "7d"), str(error)
    page = insights(None if everyone else current_user.id, period, now)
    html = render_template(
        "insights/overview.html", page=page, problem=problem, now=now, money=money
    )
    return html, 422 if problem else 200
