"""What lets a user in or keeps them out, in words; and whom SIGN_IN_ALLOW lets in."""

from smstracker.extensions import settings
from smstracker.models.users import LASTING_ADMISSIONS, LetInBy, User, stored_email


def describe_admission(user: User) -> str:
    """Describe what lets this user in, or keeps them out."""
    if stored_email(user.email) != user.email:
        return f"deactivated (another spelling of {stored_email(user.email)})"
    if not user.active:
        return "deactivated"
    if user.let_in_by in LASTING_ADMISSIONS:
        return "active (added)"
    if user.has_access(settings()):
        return f"active ({'demo' if settings().demo else 'SIGN_IN_ALLOW'})"
    if user.let_in_by == LetInBy.DEMO:
        return "out (from a demo)"
    return "out (no longer in SIGN_IN_ALLOW)"


def describe_allowed() -> str:
    """Describe who may sign in without being added."""
    allow = settings().sign_in_allow
    if allow is None:
        return "In a demo everybody may sign in, as an administrator."
    if not allow:
        return "Only people who are added here may sign in."
    names = [f"everyone of {entry}" if entry.startswith("@") else entry for entry in allow]
    listed = f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]
    return f"{listed[0].upper()}{listed[1:]} may sign in without being added (SIGN_IN_ALLOW)."
