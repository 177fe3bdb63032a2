"""Tell a Messaging Service from the other senders."""

import re

from smstracker.sms import identifiers

SERVICE_SID = re.compile(identifiers.SERVICE_SID)


def is_messaging_service(sender: str) -> bool:
    """Whether `sender` is the SID of a Messaging Service: MG and 32 hexadecimal digits."""
    return SERVICE_SID.fullmatch(sender) is not None
