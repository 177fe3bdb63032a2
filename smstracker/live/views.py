"""The event stream of a page and the rows that it then fetches; only of own messages."""

import uuid
from collections.abc import Callable
from socket import socket
from typing import cast

from flask import Blueprint, Response, abort, current_app, render_template, request
from flask.typing import ResponseReturnValue
from flask_login import current_user

from smstracker.clock import utcnow
from smstracker.extensions import db
from smstracker.live.broadcaster import Broadcaster, TooManyStreamsError
from smstracker.live.event_stream import MAX_IDS, Stream
from smstracker.messages import search, state_counts
from smstracker.messages.filter_conditions import SearchFilters
from smstracker.messages.filter_links import FilterError
from smstracker.messages.filter_reading import read_filters
from smstracker.messages.pagination import find_cursor
from smstracker.messages.search import PAGE_SIZE
from smstracker.messages.send_pauses import find_message_pauses
from smstracker.models import event_feed
from smstracker.models.users import digest
from smstracker.web.guards import for_programs, require_sign_in
from smstracker.web.request_extensions import login_manager
from smstracker.web.waiting_threads import waiting_threads

bp = Blueprint("live", __name__)
bp.before_request(require_sign_in)


@bp.before_request
def _require_same_reader() -> ResponseReturnValue | None:
    """Answer a page whose reader is no longer the one signed in as if nobody were."""
    if request.args.get("reader", current_user.reader_id) != current_user.reader_id:
        refusal: ResponseReturnValue = login_manager.unauthorized()
        return refusal
    return None


MAX_EVENTS_BEHIND = 10_000  # reading more costs more than the page itself
MAX_NEW = 99  # the largest number of new messages that a page shows


@bp.get("/messages/stream")
@for_programs
def stream() -> ResponseReturnValue:
    """Server-sent events: `changed` with the public ids of messages, or `all`."""
    broadcaster = cast(Broadcaster, current_app.extensions["broadcaster"])
    session_hash = digest(current_user.session_key)
    event_stream = Stream(broadcaster, current_user.id, session_hash, *_connection())
    position = event_feed.settled_position(db.session.connection())
    waiting = waiting_threads()
    if not waiting.enter():
        return _too_many()
    try:
        # Join before reading earlier events, so that none is missed between the two.
        broadcaster.join(event_stream, db.engine, position)
        _catch_up(event_stream, position)
    except BaseException as error:
        waiting.leave()
        event_stream.close()
        if isinstance(error, TooManyStreamsError):
            return _too_many()
        raise
    response = Response(event_stream, content_type="text/event-stream")
    response.call_on_close(waiting.leave)
    # nginx would hold events back until its buffer is full.
    response.headers["X-Accel-Buffering"] = "no"
    return response


def _too_many() -> ResponseReturnValue:
    return {"error": "Too many pages are open. Use Refresh."}, 503, {"Retry-After": "60"}


@bp.get("/messages/rows")
@for_programs
def rows() -> ResponseReturnValue:
    """The changed parts of a page of the log, as HTML."""
    try:
        log_filters = read_filters(current_user.id, request.args, utcnow())
    except FilterError as error:
        return {"error": str(error)}, 422
    ids = _requested_ids()
    messages = search.find_by_ids(current_user.id, ids)
    counts = state_counts.count_states(log_filters.search_filters)
    return render_template(
        "live/rows.html",
        messages=messages,
        matching_ids=search.matching_ids(log_filters.search_filters, ids),
        counts=counts,
        total=state_counts.sum_counts(counts),
        log_filters=log_filters,
        new_count=_count_new(log_filters.search_filters),
        max_new=MAX_NEW,
        now=log_filters.search_filters.at,
        pauses=find_message_pauses(messages, log_filters.search_filters.at),
    )


def _connection() -> tuple[int | None, Callable[[Stream], None] | None]:
    """The file descriptor of the connection, and how to hand a stream over to the server's loop.

    None if the server does not provide them.
    """
    connection = request.environ.get("gunicorn.socket", request.environ.get("werkzeug.socket"))
    number = connection.fileno() if isinstance(connection, socket) else None
    return number, getattr(connection, "stream_in_loop", None)


def _catch_up(event_stream: Stream, position: int) -> None:
    """Add the changes between the page, or the end of its last stream, and `position`."""
    # On SQLite, the request's transaction began before this stream joined the broadcaster: without
    # a new one, what was committed in between would be read by neither.
    db.session.rollback()
    event_stream.start_position = position
    since = _requested_position(position)
    if position - since > MAX_EVENTS_BEHIND:
        event_stream.mark_all_changed()
        return
    query = event_feed.select_changed_messages(event_stream.owner_id, since, MAX_IDS + 1)
    public_ids = db.session.scalars(query).all()
    if public_ids:
        event_stream.add_changes(str(public_id) for public_id in public_ids)


def _requested_position(default: int) -> int:
    position = request.headers.get("Last-Event-ID") or request.args.get("since", "")
    is_number = position.isascii() and position.isdecimal() and len(position) < 19
    return int(position) if is_number else default


def _requested_ids() -> list[uuid.UUID]:
    ids = [public_id for public_id in request.args.get("ids", "").split(",") if public_id]
    if len(ids) > PAGE_SIZE:
        abort(400)
    try:
        return [uuid.UUID(public_id) for public_id in ids]
    except ValueError:
        abort(404)


def _count_new(filters: SearchFilters) -> int:
    """How many matching messages are newer than the first of the page; at most MAX_NEW + 1.

    A page that does not begin with the newest messages sends no `newest` and gets 0.
    """
    newest = request.args.get("newest")
    if newest is None:
        return 0
    cursor = find_cursor(filters.owner_id, newest) if newest else None
    return len(search.find_page(filters, after=cursor, size=MAX_NEW + 1))
