"""Forms of the pages of users."""

from flask_wtf import FlaskForm
from wtforms import BooleanField, Field, RadioField, SelectField, StringField
from wtforms.validators import InputRequired, ValidationError

from smstracker.models.users import Appearance
from smstracker.settings.mail_addresses import MailAddressError, normalize_email, refuse_pattern
from smstracker.web.time_range import zone_choices

BROWSERS_ZONE = "As the browser says"


def _require_single_address(_form: FlaskForm, field: Field) -> None:
    try:
        refuse_pattern(field.data)
        normalize_email(field.data)
    except MailAddressError as error:
        raise ValidationError(str(error)) from error


class AddUserForm(FlaskForm):
    """The address of somebody who may sign in."""

    email = StringField(
        "E-mail address",
        filters=[lambda value: value and value.strip()],
        validators=[InputRequired("Type an e-mail address."), _require_single_address],
    )
    administrator = BooleanField("Administrator")

    @property
    def address(self) -> str:
        """The normalized address. Raises MailAddressError."""
        return normalize_email(self.email.data or "")


class SettingsForm(FlaskForm):
    """How the pages look and behave for their reader."""

    time_zone = SelectField("Time zone", choices=lambda: {"": BROWSERS_ZONE, **zone_choices()})
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
