"""The before-request check of blueprints whose pages all need a signed-in user."""

from flask.typing import ResponseReturnValue
from flask_login import current_user

from smstracker.extensions import login_manager
from smstracker.web.guards import sign_in_guard


@sign_in_guard
def require_sign_in() -> ResponseReturnValue | None:
    """Redirect a visitor to sign-in."""
    if current_user.is_authenticated:
        return None
    unauthorized: ResponseReturnValue = login_manager.unauthorized()
    return unauthorized
