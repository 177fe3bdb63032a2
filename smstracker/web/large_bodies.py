"""Uploads: requests of signed-in people whose body is larger than that of any other form.

The server waits for no such body before a thread has it: see `request_framing.UPLOAD`.
"""

from collections.abc import Iterator
from contextlib import suppress

from flask import Flask, abort, g, request
from flask.typing import ResponseReturnValue
from flask_login import current_user
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.sansio.multipart import (
    Data,
    Epilogue,
    Event,
    Field,
    File,
    MultipartDecoder,
    NeedData,
    State,
)

from smstracker.extensions import db
from smstracker.view_marks import ViewMark
from smstracker.web.request_extensions import login_manager
from smstracker.web.request_framing import (
    MAX_BODY_BYTES,
    MAX_PARTS,
    MAX_SKIMMED_BYTES,
    MAX_UPLOAD_BYTES,
)
from smstracker.web.uploaded_files import UploadRequest
from smstracker.web.waiting_threads import waiting_threads

PIECE_BYTES = 64 * 1024
# Of the fields beside the file: 100,000 pasted numbers are the largest.
MAX_FIELDS_BYTES = 4 * 1024 * 1024
# Of all parts of a form, their names and other headers: each costs time to read, also without data.
MAX_HEADERS_BYTES = 64 * 1024

# The view takes a large body of people who are signed in; with False, its blueprint's own guard
# refuses everybody else before it reads the body.
takes_upload = ViewMark("takes_upload", True)


def init_app(app: Flask) -> None:
    app.request_class = UploadRequest
    # Before the check of the CSRF token, which reads the body.
    app.before_request(_admit_upload)
    app.teardown_request(_end_upload)


def _admit_upload() -> ResponseReturnValue | None:
    """Let a large body be read by who is signed in, while threads are free."""
    is_large = (request.content_length or 0) > MAX_BODY_BYTES
    needs_sign_in = takes_upload.value_of_current()
    if not is_large or needs_sign_in is None:
        return None
    if needs_sign_in and not current_user.is_authenticated:
        answer: ResponseReturnValue = login_manager.unauthorized()
        return answer
    if needs_sign_in and request.mimetype != "multipart/form-data":
        return None  # no form of ours: of any other, all fields would be read at once
    if not waiting_threads().enter():
        abort(503)
    g.has_upload_thread = True
    request.max_content_length = MAX_UPLOAD_BYTES
    request.max_form_memory_size = MAX_FIELDS_BYTES
    db.session.rollback()  # the database ends a transaction that waits for a slow line
    return None


def _end_upload(_error: BaseException | None) -> None:
    if g.pop("has_upload_thread", False):
        waiting_threads().leave()


def skim_fields() -> MultiDict[str, str]:
    """Read the typed fields of an upload that is too large; its files are dropped piece by piece.

    Fields after MAX_SKIMMED_BYTES, and more than MAX_FIELDS_BYTES of them, are left out; nothing is
    read after MAX_PARTS parts or MAX_HEADERS_BYTES of their headers, or before the first part.
    """
    fields: MultiDict[str, str] = MultiDict()
    boundary = request.mimetype_params.get("boundary", "").encode()
    if not boundary:
        return fields
    decoder = MultipartDecoder(boundary, max_parts=MAX_PARTS)
    name, value, size, headers_size = None, bytearray(), 0, 0
    # The body ends early, is no form, or one of too many parts.
    with suppress(ValueError, OSError, RequestEntityTooLarge):
        for part in _read_parts(decoder):
            if isinstance(part, Field | File):
                name = part.name if isinstance(part, Field) else None
                headers_size += len(str(part.headers))
                if headers_size > MAX_HEADERS_BYTES:
                    break
            elif isinstance(part, Data) and name is not None and size < MAX_FIELDS_BYTES:
                value += part.data
                size += len(part.data)
                if not part.more_data:
                    fields.add(name, value.decode(errors="replace"))
                    value.clear()
    return fields


def _read_parts(decoder: MultipartDecoder) -> Iterator[Event]:
    stream, allowance = request.environ["wsgi.input"], MAX_SKIMMED_BYTES
    while allowance > 0:
        piece = stream.read(min(PIECE_BYTES, allowance))
        allowance -= len(piece)
        decoder.receive_data(piece or None)
        while not isinstance(event := decoder.next_event(), NeedData | Epilogue):
            yield event
        is_before_data = decoder.state in (State.PREAMBLE, State.PART)
        has_long_headers = is_before_data and len(decoder.buffer) > MAX_HEADERS_BYTES
        if isinstance(event, Epilogue) or has_long_headers:
            return
