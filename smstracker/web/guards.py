"""The sign-in guards of blueprints, and the marks on views that they obey."""

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

from flask import Flask, abort
from flask.typing import ResponseReturnValue
from flask_login import current_user

from smstracker.clock import is_within, utcnow
from smstracker.database.engine import UNAVAILABLE
from smstracker.extensions import writing
from smstracker.models import UserSession
from smstracker.view_marks import ViewMark
from smstracker.web.request_extensions import login_manager

Answer = Callable[[], ResponseReturnValue]
USE_NOTED_AFTER = timedelta(minutes=15)

# The view answers with something else than a page: data, a file, a stream.
for_programs = ViewMark("is_for_programs", True)
# The view needs no sign-in although its blueprint does.
open_to_all = ViewMark("is_open_to_all", True)
# An error page shows the form of the view filled in, so that people see what they send.
shows_typed_fields = ViewMark("shows_typed_fields", True)
# The view's answer to signed-out people; by default, they are sent to sign in.
_signed_out_mark = ViewMark[Answer | None]("signed_out_answer", None)
answers_signed_out = _signed_out_mark.with_value
signed_out_answer = _signed_out_mark.value_of_current
# The view's answer to a form whose CSRF token expired.
_stale_form_mark = ViewMark[Answer | None]("stale_form_answer", None)
answers_stale_form = _stale_form_mark.with_value
stale_form_answer = _stale_form_mark.value_of_current


def require_sign_in() -> ResponseReturnValue | None:
    """Guard a blueprint whose views are for signed-in people."""
    if current_user.is_authenticated:
        _note_use()
        return None
    if open_to_all.value_of_current():
        return None
    answer: Answer = signed_out_answer() or login_manager.unauthorized
    return answer()


def _note_use() -> None:
    """Store that the session is used, now and then; a page does not wait for that to work."""
    if not is_within(current_user.session_used_at, utcnow(), USE_NOTED_AFTER):
        with suppress(*UNAVAILABLE), writing():
            UserSession.note_use(current_user.session_id)


def require_administrator() -> ResponseReturnValue | None:
    """Guard a blueprint whose views are for administrators; others get a 403."""
    refusal = require_sign_in()
    if refusal is None and not current_user.administrator:
        abort(403)
    return refusal


def is_page(app: Flask, endpoint: str) -> bool:
    """Whether signed-in people see a page there: guarded, and nothing for programs."""
    guards = app.before_request_funcs.get(endpoint.rpartition(".")[0], ())
    is_guarded = require_sign_in in guards or require_administrator in guards
    return is_guarded and not for_programs.value_of(app.view_functions.get(endpoint))
