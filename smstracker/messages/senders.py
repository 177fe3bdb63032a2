"""The senders of this installation, as people and programs choose among them."""

from smstracker.extensions import settings


def offered_senders() -> list[str]:
    """The senders of the settings: the Messaging Service, if there is one, and the numbers."""
    service = settings().twilio_messaging_service_sid
    return [*([service] if service else []), *settings().twilio_phone_numbers]


def sender_choices() -> list[tuple[str, str]]:
    """The senders of the settings, each with its label."""
    from smstracker.sms.numbering_plan import format_international  # the worker needs no label

    service = settings().twilio_messaging_service_sid
    return [
        (
            sender,
            "Messaging Service (Twilio chooses the number)"
            if sender == service
            else format_international(sender),
        )
        for sender in offered_senders()
    ]
