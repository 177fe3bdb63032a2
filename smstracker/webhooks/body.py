"""The body of a request to a callback address, read with small limits and before any parser."""

from dataclasses import dataclass

from flask import abort, request

from smstracker.web.security import reading_body

# A status callback has a dozen fields and under 2 KB. The largest webhook that is sent here by
# mistake carries a text of 1,600 characters, which takes 19 KB when every one is escaped.
MAX_CALLBACK = 32 * 1024
# Each field that is read costs two microseconds, also if the signature is wrong.
MAX_FIELDS = 600
BODY_KEPT = 16 * 1024


@dataclass(frozen=True, slots=True)
class Body:
    """What was read, and how long the body is: as announced, or as far as it was read."""

    content: bytes = b""
    length: int = 0


def read_beginning() -> Body:
    """Enough of a body to explain a refusal. Raises ClientDisconnected."""
    content = _read(BODY_KEPT + 1)
    return Body(content[:BODY_KEPT], request.content_length or len(content))


def read_callback_body() -> Body:
    """The body of what may be a callback. Raises RequestEntityTooLarge, ClientDisconnected."""
    if (request.content_length or 0) > MAX_CALLBACK:
        abort(413)
    content = _read(MAX_CALLBACK + 1)
    if len(content) > MAX_CALLBACK or content.count(b"&") >= MAX_FIELDS:
        abort(413)
    return Body(content, len(content))


def _read(most: int) -> bytes:
    parts, left = [], most
    with reading_body():
        while left > 0 and (part := request.stream.read(left)):
            parts.append(part)
            left -= len(part)
    return b"".join(parts)
