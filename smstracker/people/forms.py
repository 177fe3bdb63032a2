"""Forms of the pages of users."""

from datetime import timedelta

from flask_wtf import FlaskForm
from wtforms import (
    BooleanField,
    Field,
    IntegerField,
    RadioField,
    SelectField,
    SelectMultipleField,
    StringField,
)
from wtforms.validators import (
    DataRequired,
    InputRequired,
    Length,
    NumberRange,
    Optional,
    ValidationError,
)
from wtforms.widgets import CheckboxInput

from smstracker.clock import utcnow
from smstracker.messages.senders import sender_choices
from smstracker.models.api_tokens import NAME_LENGTH, TokenRights
from smstracker.models.users import Appearance
from smstracker.settings.mail_addresses import MailAddressError, normalize_email, refuse_pattern
from smstracker.web.time_zones import UnknownZoneError, find_zone

MAX_LIMIT = 1_000_000
LIFETIMES = {"30": "30 days", "90": "90 days", "365": "a year", "": "no end"}
_LIMIT_RANGE = NumberRange(1, MAX_LIMIT, f"Type a whole number from 1 to {MAX_LIMIT:,}.")


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


class TokenForm(FlaskForm):
    """Name, rights and end of a token; an empty limit leaves those of its owner alone."""

    name = StringField(
        "Name",
        filters=[_strip],
        validators=[
            DataRequired("Type a name, such as that of the program."),
            Length(max=NAME_LENGTH, message=f"Use at most {NAME_LENGTH} characters."),
        ],
    )
    rights = RadioField(
        "The program may",
        choices={"send": "Send and read messages", "read": "Read messages only"},
        default="send",
    )
    senders = SelectMultipleField("From", option_widget=CheckboxInput())
    limit_per_minute = IntegerField("Messages a minute", validators=[Optional(), _LIMIT_RANGE])
    limit_per_day = IntegerField("Messages a day", validators=[Optional(), _LIMIT_RANGE])
    days = SelectField("Ends after", choices=LIFETIMES, default="90")

    def __init__(self) -> None:
        super().__init__()
        self.senders.choices = sender_choices()

    @property
    def token_rights(self) -> TokenRights:
        return TokenRights(
            may_send=self.rights.data == "send",
            allowed_senders=self.senders.data or None,
            limit_per_minute=self.limit_per_minute.data,
            limit_per_day=self.limit_per_day.data,
        )

    @property
    def lifetime(self) -> timedelta | None:
        return timedelta(days=int(self.days.data)) if self.days.data else None
