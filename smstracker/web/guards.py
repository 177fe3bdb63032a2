"""The sign-in guards of blueprints, and the marks on views that they obey."""

from collections.abc import Callable
from typing import Any, TypeVar

from flask import Flask, abort, current_app, request
from flask.typing import ResponseReturnValue
from flask_login import current_user

from smstracker.extensions import login_manager

View = TypeVar("View", bound=Callable[..., Any])
SignedOutAnswer = Callable[[], ResponseReturnValue]

_FOR_PROGRAMS = "_is_for_programs"
_OPEN_TO_ALL = "_is_open_to_all"
_SHOWS_TYPED_FIELDS = "_shows_typed_fields"
_SIGNED_OUT_ANSWER = "_signed_out_answer"


def require_sign_in() -> ResponseReturnValue | None:
    """Guard a blueprint whose views are for signed-in people."""
    view = current_view()
    if current_user.is_authenticated or hasattr(view, _OPEN_TO_ALL):
        return None
    answer = signed_out_answer(view)
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


def _marker(name: str, value: object = True) -> Callable[[View], View]:
    def mark(view: View) -> View:
        setattr(view, name, value)
        return view

    return mark


# The view answers with something else than a page: data, a file, a stream.
for_programs = _marker(_FOR_PROGRAMS)
# The view needs no sign-in although its blueprint does.
open_to_all = _marker(_OPEN_TO_ALL)
# An error page shows the form of the view filled in, so that people see what they send.
shows_typed_fields = _marker(_SHOWS_TYPED_FIELDS)


def answers_signed_out(answer: SignedOutAnswer) -> Callable[[View], View]:
    """Mark a view with its answer to signed-out people; by default they are sent to sign in."""
    return _marker(_SIGNED_OUT_ANSWER, answer)


def current_view() -> Callable[..., Any] | None:
    return current_app.view_functions.get(request.endpoint or "")


def signed_out_answer(view: Callable[..., Any] | None) -> SignedOutAnswer | None:
    answer: SignedOutAnswer | None = getattr(view, _SIGNED_OUT_ANSWER, None)
    return answer


def is_typed_form_shown() -> bool:
    """Whether the error page shows the typed fields of this request."""
    return hasattr(current_view(), _SHOWS_TYPED_FIELDS)


def is_page(app: Flask, endpoint: str) -> bool:
    """Whether signed-in people see a page there: guarded, and nothing for programs."""
    guards = app.before_request_funcs.get(endpoint.rpartition(".")[0], ())
    is_guarded = require_sign_in in guards or require_administrator in guards
    return is_guarded and not hasattr(app.view_functions.get(endpoint), _FOR_PROGRAMS)
