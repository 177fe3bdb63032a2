"""What people type to sign in."""

from flask_wtf import FlaskForm
from wtforms import Field, HiddenField, StringField
from wtforms.validators import InputRequired, Regexp, ValidationError

from mail_addresses import MailAddressError, normalize_email


def _stripped(value: str | None) -> str | None:
    return value.strip() if value else value


def _without_blanks(value: str | None) -> str | None:
    return "".join(value.split()) if value else value


def _mail_address(_form: FlaskForm, field: Field) -> None:
    try:
        normalize_email(field.data)
    except MailAddressError as error:
        raise ValidationError(str(error)) from error


class SignInForm(FlaskForm):
    """Asks for a mail; `next` is the page that was wanted."""

    email = StringField(
        "E-mail address",
        filters=[_stripped],
        validators=[
            InputRequired("Type your e-mail address."),
            _mail_address,
        ],
    )
    next = HiddenField()

    @property
    def address(self) -> str:
        """The one spelling of what was typed. Raises MailAddressError."""
        return normalize_email(self.email.data or "")


class CodeForm(FlaskForm):
    """The six digits of the mail; blanks do not matter."""

    code = StringField(
        "Six-digit code",
        filters=[_without_blanks],
        validators=[
            InputRequired("Type the six digits from the mail."),
            Regexp(r"[0-9]{6}\Z", message="The code has six digits."),
        ],
    )


class ConfirmForm(FlaskForm):
    """One button."""
