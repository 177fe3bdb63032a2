"""How long texts and messages are kept, here and at Twilio."""

from smstracker.settings.reader import Reader, optional_whole_number

_read_days = optional_whole_number(1, 36_500)


def read_keep_text_days(reader: Reader, name: str) -> int | None:
    """The days after which a text is deleted; None: never."""
    return _read_days(reader, name)


def read_keep_message_days(reader: Reader, name: str) -> int | None:
    """The days after which a message is deleted; None: never. Not before its text."""
    days, text_days = _read_days(reader, name), _read_days(reader, "KEEP_TEXT_DAYS")
    if days is not None and text_days is not None and text_days > days:
        reader.problem(
            "KEEP_TEXT_DAYS", f"must not be more than {name}: the text is deleted with its message"
        )
    return days


def read_redact_at_twilio(reader: Reader, name: str) -> bool:
    """Whether Twilio deletes as well what is deleted here."""
    return reader.flag(name)
