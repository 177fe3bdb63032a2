"""What people type to sign in."""

from email_validator import EmailNotValidError, validate_email
from flask_wtf import FlaskForm
from wtforms import Field, HiddenField, StringField
from wtforms.validators import InputRequired, Length, Regexp, ValidationError


def _stripped(value: str | None) -> str | None:
    return value.strip() if value else value


def _without_blanks(value: str | None) -> str | None:
    return "".join(value.split()) if value else value


def _mail_address(_form: FlaskForm, field: Field) -> None:
    try:
        # A self-hosted app serves addresses such as name@clinic.local, too.
        validate_email(
            field.data,
            check_deliverability=False,
            allow_smtputf8=False,
            globally_deliverable=False,
            test_environment=True,
        )
    except EmailNotValidError as error:
        raise ValidationError("That does not look like an e-mail address.") from error


class SignInForm(FlaskForm):
    """Asks for a mail; `next` is the page that was wanted."""

    email = StringField(
        "E-mail address",
        filters=[_stripped],
        validators=[
            InputRequired("Type your e-mail address."),
            Length(max=254, message="That is too long for an e-mail address."),
            _mail_address,
        ],
    )
    next = HiddenField()


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
