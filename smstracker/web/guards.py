"""The sign-in guards of blueprints, and the marks on views that they obey."""

from collections.abc import Callable

from flask import Flask, abort
from flask.typing import ResponseReturnValue
from flask_login import current_user

from smstracker.extensions import login_manager
from smstracker.view_marks import View, ViewMark

Answer = Callable[[], ResponseReturnValue]

# The view answers with something else than a page: data, a file, a stream.
for_programs = ViewMark("is_for_programs", True)
# The view needs no sign-in although its blueprint does.
open_to_all = ViewMark("is_open_to_all", True)
# An error page shows the form of the view filled in, so that people see what they send.
shows_typed_fields = ViewMark("shows_typed_fields", True)
# By default, signed-out people are sent to sign in.
_signed_out_answer = ViewMark[Answer | None]("signed_out_answer", None)
_stale_form_answer = ViewMark[Answer | None]("stale_form_answer", None)


def answers_signed_out(answer: Answer) -> Callable[[View], View]:
    """Mark a view with its answer to signed-out people."""
    return _signed_out_answer.with_value(answer)


def answers_stale_form(answer: Answer) -> Callable[[View], View]:
    """Mark a view with its answer to a form whose CSRF token expired."""
    return _stale_form_answer.with_value(answer)


def signed_out_answer() -> Answer | None:
    return _signed_out_answer.value_of_current()


def stale_form_answer() -> Answer | None:
    return _stale_form_answer.value_of_current()


def require_sign_in() -> ResponseReturnValue | None:
    """Guard a blueprint whose views are for signed-in people."""
    if current_user.is_authenticated or open_to_all.value_of_current():
        return None
    answer = signed_out_answer()
    if answer is not None:
        return answer()
    redirect_to_sign_in: ResponseReturnValue = login_manager.unauthorized()
    return redirect_to_sign_in


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
