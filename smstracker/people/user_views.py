"""The pages of users, for administrators."""

from collections.abc import Mapping

from flask import Blueprint, abort, flash, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user

from smstracker.clock import utcnow
from smstracker.extensions import db, settings, writing
from smstracker.models import SignInToken, User
from smstracker.models.user_changes import (
    LastAdministratorError,
    UserDeletedError,
    add_user,
    delete_user,
    make_sign_in_link,
)
from smstracker.models.users import is_allowed
from smstracker.people.admissions import describe_admission, describe_allowed
from smstracker.people.forms import AddUserForm
from smstracker.people.user_pages import (
    CHANGES,
    count_sessions,
    count_user_messages,
    read_user_page,
)
from smstracker.web.guards import require_administrator
from smstracker.web.row_ids import parse_row_id
from smstracker.web.urls import sign_in_url, tell_to_sign_in

NEW_LINK = "new_link"  # in the session: the user's id and the token

bp = Blueprint("users", __name__, url_prefix="/users")
bp.before_request(require_administrator)


@bp.get("")
def people() -> ResponseReturnValue:
    return _list_page(AddUserForm(), 200)


@bp.post("")
def add() -> ResponseReturnValue:
    """Let an address sign in; an existing user is let in again."""
    form = AddUserForm()
    if not form.validate():
        return _list_page(form, 422)
    actor, administrator = current_user.email, True if form.administrator.data else None
    with writing():
        user = add_user(form.address, administrator, actor)
    role = " as an administrator" if user.administrator else ""
    flash(f"{user.email} may sign in{role}.{'' if user.last_sign_in_at else tell_to_sign_in()}")
    return redirect(url_for(".person", user_id=user.id), 303)


@bp.get("/<int:user_id>")
def person(user_id: int) -> ResponseReturnValue:
    return _person_page(_get_user(user_id), 200)


@bp.post("/<int:user_id>/<any(" + ", ".join(f'"{name}"' for name in CHANGES) + "):name>")
def change(user_id: int, name: str) -> ResponseReturnValue:
    user, user_change, actor = _get_user(user_id), CHANGES[name], current_user.email
    is_own = user.id == current_user.id
    if user_change.costs_rights and is_own and "confirmed" not in request.form:
        return _person_page(user, 422, "Nothing was changed: tick the box to confirm it.")
    try:
        with writing():
            user_change.apply(user, actor)
    except LastAdministratorError as error:
        return _person_page(_get_user(user_id), 409, str(error))
    except UserDeletedError as error:
        return _flash_on_list(str(error))
    flash(user_change.notice.format(email=user.email))
    return redirect(url_for(".person", user_id=user_id), 303)


@bp.post("/<int:user_id>/delete")
def delete(user_id: int) -> ResponseReturnValue:
    """Delete a user; the messages stay without an owner, or are erased."""
    user, actor, messages = _get_user(user_id), current_user.email, request.form.get("messages")
    count = count_user_messages(user)
    if (count and messages not in ("keep", "erase")) or "confirmed" not in request.form:
        choice = "choose what becomes of the messages, and " if count else ""
        problem = f"Nothing was deleted: {choice}tick the box."
        return _person_page(user, 422, problem, refused_deletion=request.form)
    email, erases = user.email, messages == "erase"
    try:
        with writing():
            delete_user(user, erases, actor)
    except LastAdministratorError as error:
        return _person_page(_get_user(user_id), 409, str(error))
    except UserDeletedError as error:
        return _flash_on_list(str(error))
    unerased_fate = "The messages are kept." if count else "There were no messages."
    fate = "The worker erases the messages." if erases else unerased_fate
    return _flash_on_list(f"{email} is deleted. {fate}")


@bp.post("/<int:user_id>/sign-in-link")
def make_link(user_id: int) -> ResponseReturnValue:
    """Make a link; only the cookie of this browser takes it to the page that shows it."""
    user, actor = _get_user(user_id), current_user.email
    if not user.has_access(settings()):
        return _person_page(user, 409, f"{user.email} may not sign in. Let them in first.")
    with writing():
        session[NEW_LINK] = user_id, make_sign_in_link(user.email, actor).token
    return redirect(url_for(".show_link", user_id=user_id), 303)


@bp.get("/<int:user_id>/sign-in-link")
def show_link(user_id: int) -> ResponseReturnValue:
    """Show the newest link that this browser has made, as long as it works."""
    user = _get_user(user_id)
    owner_id, token = session.get(NEW_LINK, (None, ""))
    expires_at = SignInToken.link_expires_at(token) if owner_id == user_id else None
    link = sign_in_url(token) if expires_at else None
    return render_template("people/link.html", user=user, link=link, expires_at=expires_at)


def _flash_on_list(notice: str) -> ResponseReturnValue:
    flash(notice)
    return redirect(url_for(".people"), 303)


def _get_user(user_id: int) -> User:
    user = db.session.get(User, user_id) if user_id < 2**31 else None
    return user if user and user.deleted_at is None else abort(404)


def _list_page(form: AddUserForm, code: int) -> ResponseReturnValue:
    after = parse_row_id(request.args.get("after"))
    page = read_user_page(after)
    html = render_template(
        "people/users.html",
        form=form,
        page=page,
        after=after,
        allowed=describe_allowed(),
        describe_admission=describe_admission,
        config=settings(),
        now=utcnow(),
    )
    return html, code


def _person_page(
    user: User,
    code: int,
    problem: str | None = None,
    refused_deletion: Mapping[str, str] | None = None,
) -> ResponseReturnValue:
    """Show a user; `refused_deletion` is the form of a deletion that lacks something."""
    html = render_template(
        "people/user.html",
        user=user,
        admission=describe_admission(user),
        has_access=user.has_access(settings()),
        is_named=is_allowed(settings(), user.email),
        is_own=user.id == current_user.id,
        sessions=count_sessions([user.id]).get(user.id, 0),
        messages=count_user_messages(user),
        problem=problem,
        refused_deletion=refused_deletion,
        now=utcnow(),
    )
    return html, code
