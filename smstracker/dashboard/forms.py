"""The send form and its checks."""

import uuid
from datetime import datetime

from flask_wtf import FlaskForm
from wtforms import Field, HiddenField, RadioField, SelectField, StringField, TextAreaField
from wtforms.validators import InputRequired, ValidationError

from smstracker.clock import utcnow
from smstracker.extensions import settings
from smstracker.messages.senders import offered_senders, sender_choices
from smstracker.models.messages import Content, Message
from smstracker.sms.phone_numbers import parse_recipient
from smstracker.sms.phone_spelling import NO_NUMBER, PhoneNumberError
from smstracker.sms.picture_addresses import find_address_problem, split_addresses
from smstracker.sms.text_rules import MAX_PICTURES, find_text_problem, unix_lines
from smstracker.sms.typed_text import is_blank
from smstracker.web.form_keys import read_form_key
from smstracker.web.reader_settings import reader_zone
from smstracker.web.send_time import (
    RepeatedTimeError,
    SendTimeError,
    read_send_time,
    split_send_time,
)


class MessageForm(FlaskForm):
    """The send form; its idempotency key makes one message of it, however often it is sent."""

    idempotency_key = HiddenField(name="form_id")
    recipient = StringField("To", validators=[InputRequired(NO_NUMBER)])
    sender = SelectField("From")
    body = TextAreaField("Text", filters=[unix_lines])
    media_urls = TextAreaField("Pictures", filters=[unix_lines])
    send_day = StringField("Day")
    send_time = StringField("Time")
    send_zone = StringField("Time zone")
    # Which of two equal times is meant, in the night in which clocks go back.
    send_fold = RadioField("Which of the two", choices=[], validate_choice=False)

    def __init__(self) -> None:
        super().__init__()
        self.sender.choices = sender_choices()
        self.idempotency_key.data = self.idempotency_key.data or uuid.uuid4().hex
        zone = (self.send_zone.data or "").strip()
        # Nobody has chosen the zone: a script puts in the browser's, and `planned_at` in that.
        self.has_default_zone = not (zone or reader_zone() or self.is_for_later)
        self.planned_at: datetime | None = None
        self.send_zone.data = zone or reader_zone() or "UTC"

    @property
    def instance(self) -> uuid.UUID:
        return read_form_key(self.idempotency_key.data or "")

    @property
    def content(self) -> Content:
        """The content of a valid form; a text of which nothing can be seen is none."""
        number = parse_recipient(self.recipient.data or "", settings().default_region)
        text = self.body.data or ""
        body = "" if is_blank(text) else text
        return Content(number, self.sender.data or "", body, tuple(self.pictures))

    @property
    def pictures(self) -> list[str]:
        return [address for _line, address in self.address_lines]

    @property
    def address_lines(self) -> list[tuple[int, str]]:
        """The addresses of pictures, each with the number of its line."""
        return split_addresses(self.media_urls.data or "")

    @property
    def send_at(self) -> datetime | None:
        """When the message is to be sent; None for now. Raises SendTimeError."""
        day, clock, zone = self.send_day.data, self.send_time.data, self.send_zone.data
        fold = {"0": 0, "1": 1}.get(self.send_fold.data or "")
        return read_send_time(day or "", clock or "", zone or "", utcnow(), fold=fold)

    @property
    def is_for_later(self) -> bool:
        """Whether a day or a time is filled in."""
        return bool(self.send_day.data or self.send_time.data)

    def show_message(self, message: Message) -> None:
        """Fill in all of a message that waits here, with its time in the zone of the form."""
        self.recipient.data = message.recipient
        self.take_along(message.content)
        if message.send_at and message.send_at > utcnow():
            self.planned_at = message.send_at
            day, clock, fold = split_send_time(message.send_at, self.send_zone.data or "UTC")
            self.send_day.data, self.send_time.data, self.send_fold.data = day, clock, str(fold)

    def take_along(self, content: Content) -> None:
        """Fill in all of another message but its recipient, which has to be typed."""
        self.body.data, self.media_urls.data = content.body, "\n".join(content.media_urls)
        if content.sender in offered_senders():
            self.sender.data = content.sender

    def renew(self) -> None:
        """Take a new idempotency key and keep the fields."""
        self.idempotency_key.data = uuid.uuid4().hex

    def validate_idempotency_key(self, field: Field) -> None:
        try:
            read_form_key(field.data)
        except ValueError:
            self.renew()
            raise ValidationError("The form was incomplete. Check it and send it again.") from None

    def validate_recipient(self, field: Field) -> None:
        # Only the impossible is refused: numbering plans change faster than any table of them, and
        # Twilio judges the rest.
        try:
            parse_recipient(field.data, settings().default_region)
        except PhoneNumberError as error:
            raise ValidationError(str(error)) from error

    def validate_body(self, field: Field) -> None:
        if problem := find_text_problem(field.data or "", has_pictures=bool(self.pictures)):
            raise ValidationError(problem)

    def validate_send_time(self, _field: Field) -> None:
        try:
            _ = self.send_at
        except RepeatedTimeError as error:
            self.send_fold.choices = list(zip("01", error.choices, strict=True))
            raise ValidationError(str(error)) from error
        except SendTimeError as error:
            raise ValidationError(str(error)) from error

    def validate_media_urls(self, _field: Field) -> None:
        if len(self.pictures) > MAX_PICTURES:
            raise ValidationError(f"One message can hold {MAX_PICTURES} pictures. Remove some.")
        problems = [
            f"Line {line} {problem}"
            for line, address in self.address_lines
            if (problem := find_address_problem(address))
        ]
        if problems:
            raise ValidationError("\n".join(problems))
