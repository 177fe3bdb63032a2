"""What a sender is: a number, a short code, a name or a Messaging Service. Pure."""


def is_messaging_service(sender: str) -> bool:
    """Check for a Messaging Service SID: "MG" and 32 hexadecimal digits."""
    return sender.startswith("MG") and len(sender) == 34
