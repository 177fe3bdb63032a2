"""Forms of the pages of users."""

from flask_wtf import FlaskForm
from wtforms import BooleanField, Field, RadioField, StringField
from wtforms.validators import InputRequired, Optional, ValidationError

from smstracker.clock import utcnow
from smstracker.models.users import Appearance
from smstracker.settings.mail_addresses import MailAddressError, normalize_email, refuse_pattern
from smstracker.web.time_zones import UnknownZoneError, find_zone


def _strip(text: str | None) -> str | None:
    return text and text.strip()


def _require_single_address(_form: FlaskForm, field: Field) -> None:
    try:
        refuse_pattern(field.data)
        normalize_email(field.data)
    except MailAddressError as error:
        raise ValidationError(str(error)) from error


def _find_zone(_form: FlaskForm, field: Field) -> None:
    """Replace what was typed by the name of the zone."""
    try:
        field.data = find_zone(field.data, utcnow().year)
    except UnknownZoneError as error:
        raise ValidationError(str(error)) from error


class AddUserForm(FlaskForm):
    """The address of somebody who may sign in."""

    email = StringField(
        "E-mail address",
        filters=[_strip],
        validators=[InputRequired("Type an e-mail address."), _require_single_address],
    )
    administrator = BooleanField("Administrator")

    @property
    def address(self) -> str:
        """The normalized address. Raises MailAddressError."""
        return normalize_email(self.email.data or "")


class SettingsForm(FlaskForm):
    """How the pages look and behave for their reader."""

    time_zone = StringField("Time zone", filters=[_strip], validators=[Optional(), _find_zone])
    appearance = RadioField(
        "Colours",
        choices={
            Appearance.SYSTEM.value: "As the system",
            Appearance.LIGHT.value: "Light",
            Appearance.DARK.value: "Dark",
        },
    )
    has_shortcuts = BooleanField("Single-key shortcuts")
    shows_exact_times = BooleanField("Exact times instead of “5 minutes ago”")
