"""The secret of a program's token: `smst_`, 256 random bits and their checksum, in base 62. Pure.

The checksum tells a cut or mistyped token from a foreign one without the database, and lets
scanners for leaked secrets recognize it.
"""

import re
import secrets
import string
import zlib

PREFIX = "smst_"
ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
SECRET_LENGTH = 43  # base 62 digits of 256 bits
CHECKSUM_LENGTH = 6  # of 32 bits
SHAPE = re.compile(rf"{PREFIX}[0-9A-Za-z]{{{SECRET_LENGTH + CHECKSUM_LENGTH}}}")


def new_secret() -> str:
    """Make a secret that nobody can guess."""
    text = PREFIX + _to_base62(secrets.randbits(256), SECRET_LENGTH)
    return text + _checksum(text)


def is_whole(secret: str) -> bool:
    """Check that a secret has the shape of one and its own checksum."""
    text, checksum = secret[:-CHECKSUM_LENGTH], secret[-CHECKSUM_LENGTH:]
    return bool(SHAPE.fullmatch(secret)) and checksum == _checksum(text)


def _checksum(text: str) -> str:
    return _to_base62(zlib.crc32(text.encode()), CHECKSUM_LENGTH)


def _to_base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, len(ALPHABET))
        digits.append(ALPHABET[digit])
    return "".join(reversed(digits))
