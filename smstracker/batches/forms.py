"""The form of a new batch."""

import uuid
from collections.abc import Iterator
from math import ceil

from flask_wtf import FlaskForm
from flask_wtf.file import FileField
from werkzeug.datastructures import FileStorage, MultiDict
from wtforms import Field, HiddenField, SelectField, StringField, TextAreaField
from wtforms.validators import ValidationError

from smstracker.batches.pasted import find_lines
from smstracker.batches.table import MAX_FILE_BYTES
from smstracker.batches.uploads import Upload, pack_file
from smstracker.clock import utcnow
from smstracker.extensions import settings
from smstracker.messages.senders import sender_choices
from smstracker.models.batches import PART_BYTES, Batch, BatchFile
from smstracker.sms.quiet_hours import QuietHours, format_minute, read_minute
from smstracker.sms.text_fields import TextTemplate
from smstracker.sms.text_rules import character_problem, length_problem, unix_lines
from smstracker.sms.typed_text import is_blank
from smstracker.web.form_keys import read_form_key
from smstracker.web.reader_settings import reader_zone
from smstracker.web.time_zones import UnknownZoneError, find_zone

MEGABYTE = 1024 * 1024
PASTED_NAME = "Pasted numbers"
_HALF_A_WINDOW = "Choose both times, or leave both empty."


def too_large_sentence(size: int) -> str:
    """What to do about a file of so many bytes; upload_check.js fills in the size."""
    most = MAX_FILE_BYTES // MEGABYTE
    return (
        f"The file has {ceil(size / MEGABYTE)} MB; at most {most} MB can be read. Delete the "
        "columns that the text does not need, or divide the file."
    )


class BatchForm(FlaskForm):
    """A file or pasted rows, a text and a sender; its key makes one batch of it."""

    idempotency_key = HiddenField(name="form_id")
    body = TextAreaField("Text", filters=[unix_lines])
    file = FileField("File")
    pasted = TextAreaField("Or paste numbers", filters=[unix_lines])
    sender = SelectField("From")
    quiet_from = StringField("Quiet from")
    quiet_until = StringField("Quiet until")
    quiet_zone = StringField("Time zone")

    def __init__(self, fields: MultiDict[str, str] | None = None) -> None:
        """The form as it is sent, or filled in with `fields` of a request that is too large."""
        super().__init__(**({} if fields is None else {"formdata": fields}))
        self.sender.choices = sender_choices()
        self.idempotency_key.data = self.idempotency_key.data or uuid.uuid4().hex
        if self.quiet_zone.data is None:
            self.quiet_zone.data = reader_zone()

    def copy_batch(self, batch: Batch) -> None:
        """Take over all of a batch that is to be made anew, but a file or a table."""
        self.body.data, self.sender.data = batch.text, batch.sender
        if batch.holds_lines:
            self.pasted.data = BatchFile.read_all(batch.id).decode()
        if quiet := batch.quiet_hours:
            self.quiet_from.data = format_minute(quiet.start)
            self.quiet_until.data = format_minute(quiet.end)
            self.quiet_zone.data = quiet.zone

    @property
    def key(self) -> uuid.UUID:
        return read_form_key(self.idempotency_key.data or "")

    @property
    def upload(self) -> Upload:
        """What a valid form uploads."""
        parts: FileParts | list[bytes]
        lines = None
        if self.file.data:
            name, parts = self.file.data.filename or "File", FileParts(self.file.data)
        else:
            pasted = self.pasted.data or ""
            lines = find_lines(pasted, settings().default_region)
            name, parts = PASTED_NAME, [(pasted if lines is None else lines).encode()]
        text, sender, file = self.body.data or "", self.sender.data or "", pack_file(parts)
        return Upload(name, text, sender, file, self.quiet_hours, is_lines=lines is not None)

    @property
    def file_error(self) -> OSError | None:
        """Why the server could not store the file."""
        return self.file.data.stream.error if self.file.data else None

    @property
    def quiet_hours(self) -> QuietHours | None:
        start, end = (read_minute(f.data or "") for f in (self.quiet_from, self.quiet_until))
        if start is None or end is None:
            return None
        return QuietHours(start, end, self.quiet_zone.data or "UTC")

    def validate_idempotency_key(self, field: Field) -> None:
        try:
            read_form_key(field.data)
        except ValueError:
            field.data = uuid.uuid4().hex
            raise ValidationError("The form was incomplete. Check it and send it again.") from None

    def validate_body(self, field: Field) -> None:
        text = field.data or ""
        if is_blank(text):
            raise ValidationError("Type a text.")
        problem = length_problem(text) or TextTemplate(text).find_problem()
        if problem := problem or character_problem(text):
            raise ValidationError(problem)

    def validate_file(self, field: Field) -> None:
        has_rows = bool((self.pasted.data or "").strip())
        if bool(field.data) == has_rows:
            both = "Choose a file or paste numbers, not both."
            raise ValidationError(both if has_rows else "Choose a file, or paste numbers below.")
        if field.data and (size := FileParts(field.data).size) > MAX_FILE_BYTES:
            raise ValidationError(too_large_sentence(size))

    def validate_pasted(self, field: Field) -> None:
        if problem := character_problem(field.data or "", "What you pasted"):
            raise ValidationError(problem)

    def validate_quiet_from(self, field: Field) -> None:
        start, end = (field.data or "").strip(), (self.quiet_until.data or "").strip()
        if bool(start) != bool(end):
            raise ValidationError(_HALF_A_WINDOW)
        if start and None in (read_minute(start), read_minute(end)):
            raise ValidationError("Type the times like 21:00 and 08:00.")
        if start and read_minute(start) == read_minute(end):
            raise ValidationError("Choose two different times.")

    def validate_quiet_zone(self, field: Field) -> None:
        if not (self.quiet_from.data or "").strip():
            return
        try:
            field.data = find_zone(field.data or "UTC", utcnow().year)
        except UnknownZoneError as error:
            raise ValidationError(str(error)) from error


class FileParts:
    """The bytes of an uploaded file, in parts."""

    def __init__(self, file: FileStorage) -> None:
        self._stream = file.stream

    def __iter__(self) -> Iterator[bytes]:
        self._stream.seek(0)
        while part := self._stream.read(PART_BYTES):
            yield part

    @property
    def size(self) -> int:
        return self._stream.seek(0, 2)
