"""The senders of this installation, as people and programs choose among them."""

from smstracker.extensions import settings
from smstracker.sms.numbering_plan import format_international


def sender_choices() -> list[tuple[str, str]]:
    """The senders of the settings: the Messaging Service and the numbers, each with its label."""
    choices = [(number, format_international(number)) for number in settings().twilio_phone_numbers]
    service = settings().twilio_messaging_service_sid
    if service:
        choices.insert(0, (service, "Messaging Service (Twilio chooses the number)"))
    return choices
