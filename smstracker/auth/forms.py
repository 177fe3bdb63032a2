"""What people type to sign in."""

import re
import unicodedata

from flask_wtf import FlaskForm
from wtforms import Field, HiddenField, StringField
from wtforms.validators import InputRequired, ValidationError

from mail_addresses import MailAddressError, normalize_email
from typed_text import MixedDigitsError, digits_in_ascii, is_invisible


def _stripped(value: str | None) -> str | None:
    return value.strip() if value else value


def _mail_address(_form: FlaskForm, field: Field) -> None:
    try:
        normalize_email(field.data)
    except MailAddressError as error:
        raise ValidationError(str(error)) from error


def _six_digits(_form: FlaskForm, field: Field) -> None:
    """Take the digits alone, from whatever keyboard or mail program they come."""
    try:
        typed = digits_in_ascii(field.data)
    except MixedDigitsError as error:
        raise ValidationError(str(error)) from error
    digits = "".join(character for character in typed if not _separates(character))
    if not re.fullmatch("[0-9]{6}", digits):
        raise ValidationError("The code has six digits.")
    field.data = digits


def _separates(character: str) -> bool:
    is_mark = unicodedata.category(character)[0] in "ZP" or character in "−`"
    return is_mark or character.isspace() or is_invisible(character)


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
    """The six digits of the mail; script, separators and invisible characters do not matter."""

    code = StringField(
        "Six-digit code",
        validators=[
            InputRequired("Type the six digits from the mail."),
            _six_digits,
        ],
    )


class ConfirmForm(FlaskForm):
    """One button."""
