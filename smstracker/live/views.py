"""The event stream of a page, and the rows that it then fetches: one's own, always."""

import uuid
from socket import socket
from typing import cast

from flask import Blueprint, Response, abort, current_app, render_template, request
from flask.typing import ResponseReturnValue
from flask_login import current_user

from smstracker.auth.sign_in_guard import require_sign_in
from smstracker.clock import utcnow
from smstracker.extensions import db
from smstracker.live.broadcaster import Broadcaster, TooManyStreamsError
from smstracker.live.event_stream import MOST_IDS, Stream
from smstracker.messages import search
from smstracker.messages.search import PAGE_SIZE
from smstracker.messages.url_filters import FilterError, read_filters
from smstracker.models import event_feed
from smstracker.models.users import digest
from smstracker.web.guards import for_programs
from smstracker.web.waiting_threads import waiting_threads

bp = Blueprint("live", __name__)
bp.before_request(require_sign_in)

MOST_BEHIND = 10_000  # events; looking through more costs more than the page itself
MOST_NEW = 99


@bp.get("/messages/stream")
@for_programs
def stream() -> ResponseReturnValue:
    """Server-sent events: `changed` with the public ids of messages, or `all`."""
    broadcaster = cast(Broadcaster, current_app.extensions["broadcaster"])
    session_hash = digest(current_user.session_key)
    opened = Stream(broadcaster, current_user.id, session_hash, _socket_number())
    position = event_feed.settled_position()
    try:
        # Joined before the past is looked up, so that nothing falls between the two.
        broadcaster.join(opened, db.engine, position)
        _catch_up(opened, position)
    except TooManyStreamsError:
        return {"error": "Too many pages are open. Use Refresh."}, 503, {"Retry-After": "60"}
    except BaseException:
        opened.close()
        raise
    answer = Response(opened, content_type="text/event-stream")
    waiting = waiting_threads()
    waiting.enter()
    answer.call_on_close(waiting.leave)
    # nginx would keep the events back until its buffer is full.
    answer.headers["X-Accel-Buffering"] = "no"
    answer.headers["Cache-Control"] = "no-store"
    return answer


@bp.get("/messages/rows")
@for_programs
def rows() -> ResponseReturnValue:
    """What has changed on a page of the log, as HTML."""
    try:
        chosen = read_filters(current_user.id, request.args, utcnow())
    except FilterError as error:
        return {"error": str(error)}, 422
    ids = _ids()
    counts = search.count_states(chosen.filter)
    return render_template(
        "live/rows.html",
        messages=search.find_by_ids(current_user.id, ids),
        fitting=search.matching_ids(chosen.filter, ids),
        counts=counts,
        total=search.sum_counts(counts),
        chosen=chosen,
        new=_new(chosen.filter),
        most_new=MOST_NEW,
        now=chosen.filter.at,
    )


def _socket_number() -> int | None:
    """The reader's connection, if the server tells which it is."""
    connection = request.environ.get("gunicorn.socket", request.environ.get("werkzeug.socket"))
    return connection.fileno() if isinstance(connection, socket) else None


def _catch_up(opened: Stream, position: int) -> None:
    """Tell of what came between the page, or the end of its last stream, and now."""
    # SQLite shows a transaction what was there when it began, and the request's began before the
    # broadcaster told this stream of anything: what was committed between would be told by neither.
    db.session.rollback()
    opened.caught_up_to = position
    since = _since(position)
    if position - since > MOST_BEHIND:
        opened.tell_all()
        return
    missed = event_feed.changed_messages(opened.owner_id, since, MOST_IDS + 1)
    found = db.session.scalars(missed).all()
    if found:
        opened.tell(str(public_id) for public_id in found)


def _since(position: int) -> int:
    given = request.headers.get("Last-Event-ID") or request.args.get("since", "")
    is_number = given.isascii() and given.isdecimal() and len(given) < 19
    return int(given) if is_number else position


def _ids() -> list[uuid.UUID]:
    given = [one for one in request.args.get("ids", "").split(",") if one]
    if len(given) > PAGE_SIZE:
        abort(400)
    try:
        return [uuid.UUID(one) for one in given]
    except ValueError:
        abort(404)


def _new(chosen: search.SearchFilters) -> int:
    """How many messages that pass are newer than the page's first; at most one over MOST_NEW.

    A page that does not begin with the newest names none, and is told of none.
    """
    newest = request.args.get("newest")
    if newest is None:
        return 0
    key = None
    if newest:
        try:
            key = search.find_cursor(chosen.owner_id, uuid.UUID(newest))
        except ValueError:
            abort(404)
        if key is None:
            abort(404)
    return len(search.find_page(chosen, after=key, size=MOST_NEW + 1))
