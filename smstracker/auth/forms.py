"""Forms of the sign-in pages."""

import re
import unicodedata

from flask_wtf import FlaskForm
from wtforms import Field, HiddenField, StringField
from wtforms.validators import InputRequired, ValidationError

from smstracker.settings.mail_addresses import MailAddressError, normalize_email
from smstracker.sms.typed_text import MixedDigitsError, is_invisible, to_ascii_digits


def _require_mail_address(_form: FlaskForm, field: Field) -> None:
    try:
        normalize_email(field.data)
    except MailAddressError as error:
        raise ValidationError(str(error)) from error


def _normalize_code(_form: FlaskForm, field: Field) -> None:
    """Reduce the code to six ASCII digits, whatever the keyboard or mail program added."""
    try:
        typed = to_ascii_digits(field.data)
    except MixedDigitsError as error:
        raise ValidationError(str(error)) from error
    digits = "".join(character for character in typed if not _is_separator(character))
    if not re.fullmatch("[0-9]{6}", digits):
        raise ValidationError("The code has six digits.")
    field.data = digits


def _is_separator(character: str) -> bool:
    is_mark = unicodedata.category(character)[0] in "ZP" or character in "−`"
    return is_mark or character.isspace() or is_invisible(character)


class SignInForm(FlaskForm):
    """Requests a sign-in mail; `next` is the path to go to afterwards."""

    email = StringField(
        "E-mail address",
        filters=[lambda value: value and value.strip()],
        validators=[InputRequired("Type your e-mail address."), _require_mail_address],
    )
    next = HiddenField()

    @property
    def address(self) -> str:
        """The normalized address. Raises MailAddressError."""
        return normalize_email(self.email.data or "")


class CodeForm(FlaskForm):
    """The six digits of the mail, in any script, with any separators."""

    code = StringField(
        "Six-digit code",
        validators=[InputRequired("Type the six digits from the mail."), _normalize_code],
    )


class ConfirmForm(FlaskForm):
    """A form with only a button."""
