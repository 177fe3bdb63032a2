"""Tell a Messaging Service from the other senders."""

import re

SERVICE_SID = re.compile(r"MG[0-9a-fA-F]{32}")


def is_messaging_service(sender: str) -> bool:
    """Whether `sender` is the SID of a Messaging Service: MG and 32 hexadecimal digits."""
    return SERVICE_SID.fullmatch(sender) is not None
