"""Tell a Messaging Service from the other senders."""


def is_messaging_service(sender: str) -> bool:
    """Whether `sender` is the SID of a Messaging Service: MG and 32 hexadecimal digits."""
    return sender.startswith("MG") and len(sender) == 34
