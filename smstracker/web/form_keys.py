"""The key of a form, by which what it sends is saved once."""

import uuid


def read_form_key(text: str) -> uuid.UUID:
    """Read the key of one of our forms, which is random. Raises ValueError for any other.

    Keys that follow from something, such as that of a row of a batch, are of another version: no
    form can take one of them.
    """
    key = uuid.UUID(text)
    if key.version != 4:
        raise ValueError("no key of a form")
    return key
