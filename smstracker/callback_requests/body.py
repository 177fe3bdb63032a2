"""Read the body of a request to a callback address within small limits, before any parser."""

from dataclasses import dataclass

from flask import abort, request

from smstracker.web.request_framing import MAX_CALLBACK_BYTES
from smstracker.web.security import reading_body

# Each field costs two microseconds to read, even if the signature is wrong.
MAX_FIELDS = 600
MAX_KEPT_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class Body:
    """The part that was read, and the announced length (or that of the part)."""

    content: bytes = b""
    announced_length: int = 0


def read_beginning() -> Body:
    """Read enough of a body to explain a refusal. Raises ClientDisconnected."""
    content = _read(MAX_KEPT_BYTES + 1)
    return Body(content[:MAX_KEPT_BYTES], request.content_length or len(content))


def read_callback_body() -> Body:
    """Read what may be a callback. Raises RequestEntityTooLarge, ClientDisconnected."""
    if (request.content_length or 0) > MAX_CALLBACK_BYTES:
        abort(413)
    content = _read(MAX_CALLBACK_BYTES + 1)
    if len(content) > MAX_CALLBACK_BYTES or content.count(b"&") >= MAX_FIELDS:
        abort(413)
    return Body(content, len(content))


def _read(max_bytes: int) -> bytes:
    chunks, bytes_left = [], max_bytes
    with reading_body():
        while bytes_left > 0 and (chunk := request.stream.read(bytes_left)):
            chunks.append(chunk)
            bytes_left -= len(chunk)
    return b"".join(chunks)
