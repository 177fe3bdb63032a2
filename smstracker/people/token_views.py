"""The pages of one's own tokens for programs."""

from flask import Blueprint, abort, flash, redirect, render_template, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user

from smstracker.extensions import db, settings, writing
from smstracker.models import ApiToken, User
from smstracker.models.api_tokens import TokenError, add_token, revoke_token
from smstracker.people.forms import TokenForm
from smstracker.web.guards import require_sign_in

bp = Blueprint("tokens", __name__, url_prefix="/settings/tokens")
bp.before_request(require_sign_in)


@bp.get("/new")
def new() -> ResponseReturnValue:
    return _form_page(TokenForm(), 200)


@bp.post("")
def add() -> ResponseReturnValue:
    """Add a token and answer with its secret: no other page, cookie or address holds it.

    Whoever loads that answer anew is refused, because the name is taken.
    """
    form, owner_id = TokenForm(), current_user.id
    if not form.validate():
        return _form_page(form, 422)
    try:
        with writing():
            owner = db.session.get_one(User, owner_id)
            rights, lifetime = form.token_rights, form.lifetime
            token, secret = add_token(owner, form.name.data or "", rights, lifetime, owner.email)
    except TokenError as error:
        form.name.errors = [*form.name.errors, str(error)]
        return _form_page(form, 409)
    base_url = settings().public_base_url
    return render_template("people/token.html", token=token, secret=secret, base_url=base_url)


@bp.post("/<int:token_id>/revoke")
def revoke(token_id: int) -> ResponseReturnValue:
    """End one of one's own tokens; another's is a 404."""
    owner_id = current_user.id
    is_token = ApiToken.id == (token_id if token_id < 2**31 else 0)
    with writing():
        query = ApiToken.select_unrevoked(owner_id).where(is_token)
        token = db.session.scalar(query) or abort(404)
        revoke_token(token, token.owner.email)
    flash(f"The token “{token.name}” is revoked.")
    return redirect(url_for("settings.settings"), 303)


def _form_page(form: TokenForm, code: int) -> ResponseReturnValue:
    return render_template("people/new_token.html", form=form, config=settings()), code
