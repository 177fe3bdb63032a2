"""Uploads: requests of signed-in people whose body is larger than that of any other form.

The server waits for no such body before a thread has it: see `request_framing.UPLOAD`.
"""

from flask import Flask, abort, g, request
from flask.typing import ResponseReturnValue
from flask_login import current_user

from smstracker.view_marks import ViewMark
from smstracker.web.request_extensions import login_manager
from smstracker.web.request_framing import MAX_BODY_BYTES, MAX_UPLOAD_BYTES
from smstracker.web.waiting_threads import waiting_threads

# The view takes a large body of people who are signed in; with False, its blueprint's own guard
# refuses everybody else before it reads the body.
takes_upload = ViewMark("takes_upload", True)


def init_app(app: Flask) -> None:
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
    if not waiting_threads().enter():
        abort(503)
    g.has_upload_thread = True
    request.max_content_length = MAX_UPLOAD_BYTES
    return None


def _end_upload(_error: BaseException | None) -> None:
    if g.pop("has_upload_thread", False):
        waiting_threads().leave()
