"""Whether deliveries are healthy: one's own messages, or everyone's totals for administrators."""

from datetime import datetime

from flask import Blueprint, abort, render_template, request
from flask.typing import ResponseReturnValue
from flask_login import current_user

from smstracker.auth.sign_in_guard import require_sign_in
from smstracker.clock import utcnow
from smstracker.insights.charts import money
from smstracker.insights.page import insights
from smstracker.web.time_range import TimeRange, TimeRangeError, read_period

DEFAULT = "7d"

bp = Blueprint("insights", __name__, url_prefix="/insights")
bp.before_request(require_sign_in)


@bp.get("")
def overview() -> ResponseReturnValue:
    everyone = "everyone" in request.args
    if everyone and not current_user.administrator:
        abort(404)
    now = utcnow()
    period, problem = _period(now)
    page = insights(None if everyone else current_user.id, period, now)
    given = {"page": page, "problem": problem, "typed": request.args, "now": now, "money": money}
    return render_template("insights/overview.html", **given), 422 if problem else 200


def _period(now: datetime) -> tuple[TimeRange, str | None]:
    """The range of time that is asked for; if there is none, the usual one and what is wrong."""
    try:
        return read_period(request.args, now, DEFAULT), None
    except TimeRangeError as error:
        return read_period({"zone": request.args.get("zone", "")}, now, DEFAULT), str(error)
