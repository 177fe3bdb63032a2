"""The page of a user's own figures, or of everyone's totals for administrators."""

from datetime import datetime

from flask import Blueprint, abort, render_template, request
from flask.typing import ResponseReturnValue
from flask_login import current_user

from smstracker.clock import utcnow
from smstracker.insights.figures import format_money
from smstracker.insights.page import build_insights
from smstracker.web.guards import require_sign_in
from smstracker.web.reader_settings import reader_zone
from smstracker.web.time_range import PERIODS, TimeRange, TimeRangeError, read_period

DEFAULT_PERIOD = "7d"

bp = Blueprint("insights", __name__, url_prefix="/insights")
bp.before_request(require_sign_in)


@bp.get("")
def overview() -> ResponseReturnValue:
    everyone = "everyone" in request.args
    if everyone and not current_user.administrator:
        abort(404)
    now = utcnow()
    period, problem = _period(now)
    html = render_template(
        "insights/overview.html",
        periods={name: words for name, (_, words) in PERIODS.items()} | {"all": "All time"},
        page=build_insights(None if everyone else current_user.id, period, now),
        problem=problem,
        typed=request.args,
        now=now,
        format_money=format_money,
    )
    return html, 422 if problem else 200


def _period(now: datetime) -> tuple[TimeRange, str | None]:
    """The requested range, or the default one and the problem to show."""
    zone = {"zone": request.args.get("zone") or reader_zone()}
    try:
        return read_period(request.args.to_dict() | zone, now, DEFAULT_PERIOD), None
    except TimeRangeError as error:
        return read_period(zone, now, DEFAULT_PERIOD), str(error)
