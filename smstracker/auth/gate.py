"""What a blueprint asks before each request when all its pages are for signed-in people."""

from flask.typing import ResponseReturnValue
from flask_login import current_user

from smstracker.extensions import login_manager
from smstracker.web.guards import sign_in_guard


@sign_in_guard
def only_signed_in() -> ResponseReturnValue | None:
    if current_user.is_authenticated:
        return None
    unauthorized: ResponseReturnValue = login_manager.unauthorized()
    return unauthorized
