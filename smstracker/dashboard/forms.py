"""The send form: what people type, checked in their words."""

import re
import uuid
from urllib.parse import urlsplit

from flask_wtf import FlaskForm
from wtforms import Field, HiddenField, SelectField, StringField, TextAreaField
from wtforms.validators import InputRequired, ValidationError

from smstracker.extensions import settings
from smstracker.models.messages import Content
from smstracker.sms.countries import describe_number
from smstracker.sms.phone_numbers import (
    NO_NUMBER,
    PhoneNumberError,
    format_international,
    parse_recipient,
)

MAX_CHARACTERS = 1600
MAX_PICTURES = 10
MAX_ADDRESS = 2048


def _unix_lines(value: str | None) -> str | None:
    # Browsers send CR LF for each line end, which would count, and cost, twice.
    return re.sub(r"\r\n?", "\n", value) if value else value


class MessageForm(FlaskForm):
    """`form_id` marks the instance of the form: it makes one message, however often it is sent."""

    form_id = HiddenField()
    recipient = StringField("To", validators=[InputRequired(NO_NUMBER)])
    sender = SelectField("From")
    body = TextAreaField("Text", filters=[_unix_lines])
    media_urls = TextAreaField("Pictures", filters=[_unix_lines])

    def __init__(self) -> None:
        super().__init__()
        self.sender.choices = sender_choices()
        self.form_id.data = self.form_id.data or uuid.uuid4().hex

    @property
    def instance(self) -> uuid.UUID:
        return uuid.UUID(self.form_id.data)

    @property
    def content(self) -> Content:
        """What is to be sent; only after the form was found valid."""
        number = parse_recipient(self.recipient.data or "", settings().default_region)
        return Content(number, self.sender.data, self.body.data or "", tuple(self.pictures))

    @property
    def pictures(self) -> list[str]:
        return [line.strip() for line in (self.media_urls.data or "").split("\n") if line.strip()]

    def renew(self) -> None:
        """Make this a new instance of the form, with everything that was typed."""
        self.form_id.data = uuid.uuid4().hex

    def validate_form_id(self, field: Field) -> None:
        try:
            uuid.UUID(field.data)
        except ValueError:
            self.renew()
            raise ValidationError("The form was incomplete. Check it and send it again.") from None

    def validate_recipient(self, field: Field) -> None:
        # Only what no number can be is refused: numbering plans change faster than any table of
        # them, and Twilio is the judge of the rest.
        try:
            parse_recipient(field.data, settings().default_region)
        except PhoneNumberError as error:
            raise ValidationError(str(error)) from error

    def validate_body(self, field: Field) -> None:
        text = field.data or ""
        if not text.strip():
            raise ValidationError("Type the text to send.")
        if len(text) > MAX_CHARACTERS:
            over = len(text) - MAX_CHARACTERS
            raise ValidationError(
                f"The text has {len(text):,} characters, {over:,} more than the "
                f"{MAX_CHARACTERS:,} that one message can hold."
            )
        if "\0" in text:
            raise ValidationError("The text holds a character that cannot be sent (NUL).")

    def validate_media_urls(self, _field: Field) -> None:
        if len(self.pictures) > MAX_PICTURES:
            raise ValidationError(f"At most {MAX_PICTURES} pictures go into one message.")
        for number, address in enumerate(self.pictures, start=1):
            if not _is_public_picture(address):
                raise ValidationError(
                    f"Line {number} is not an address like https://example.org/picture.jpg."
                )


def _is_public_picture(address: str) -> bool:
    try:
        parts = urlsplit(address)
        parts.port  # noqa: B018 - reading it raises ValueError for a bad one
    except ValueError:
        return False
    plain = len(address) <= MAX_ADDRESS and address.isprintable() and " " not in address
    return plain and parts.scheme == "https" and bool(parts.hostname)


def describe_recipient(typed: str) -> str:
    """Country and number that a message would go to. Raises PhoneNumberError."""
    return describe_number(parse_recipient(typed, settings().default_region))


def sender_choices() -> list[tuple[str, str]]:
    """What may send: the numbers and the Messaging Service of the settings."""
    choices = [(number, format_international(number)) for number in settings().twilio_phone_numbers]
    service = settings().twilio_messaging_service_sid
    if service:
        choices.insert(0, (service, "Messaging Service (Twilio chooses the number)"))
    return choices
