"""Credentials and senders at Twilio; in demo mode generated ones."""

import re

from smstracker.settings.placeholders import is_placeholder
from smstracker.settings.reader import Reader, matching
from smstracker.sms import identifiers
from smstracker.sms.messaging_service import SERVICE_SID

DEMO_PHONE_NUMBER = "+15005550198"  # the number of no scenario
DEMO_KEY_ID = "webhooks_sharedkey_demo"
ACCOUNT_SID = re.compile(identifiers.ACCOUNT_SID)
# An Auth Token; with a curly quote around it, it could not even be sent.
_AUTH_TOKEN = re.compile(r"[!#-&(-_a-~]+")
AUTH_TOKENS = ("TWILIO_AUTH_TOKEN", "TWILIO_AUTH_TOKEN_SECONDARY", "TWILIO_AUTH_TOKEN_FORMER")
_UNQUOTED_SHAPE = "the token alone, without blanks, quotes and accents"
# Of a shared webhook key.
KEY_ID = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_SENDER = re.compile(identifiers.SENDER)
_EDGE = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")

_SID = re.compile(r"[a-z]{2}[0-9a-f]{32}", re.IGNORECASE)
MIN_SECRET_LENGTH = 8
_REFERENCE = re.compile(r"\$\{?\w+\}?")
_match_token = matching(_AUTH_TOKEN, _UNQUOTED_SHAPE)
read_service_sid = matching(SERVICE_SID, "MG followed by 32 hexadecimal digits")
_match_edge = matching(_EDGE, "an edge of Twilio's such as dublin")
_match_region = matching(_EDGE, "a region of Twilio's such as ie1")


def find_secret_fault(secret: str) -> str | None:
    """Why a text cannot be the secret that callbacks are signed with; None if it can be."""
    if _SID.fullmatch(secret):
        return "is a SID, which is no secret; the token is beside the account SID in the Console"
    if _REFERENCE.fullmatch(secret):
        return "is a reference that nothing replaced; write the value itself"
    if len(secret) < MIN_SECRET_LENGTH and not is_placeholder(secret):
        return "is too short for a secret: anybody could guess it and forge callbacks"
    return None


def read_token(reader: Reader, name: str) -> str | None:
    token = _match_token(reader, name)
    if token and (fault := find_secret_fault(token)):
        reader.problem(name, fault)
    return token


def read_former_token(reader: Reader, name: str) -> str | None:
    """Return the token of which a diagnosis may say that it is no longer accepted."""
    token = read_token(reader, name)
    for accepted in ("TWILIO_AUTH_TOKEN", "TWILIO_AUTH_TOKEN_SECONDARY"):
        if token and token == reader.text(accepted):
            reader.problem(name, f"is the same as {accepted}, which is accepted; remove one")
    return token


def read_edge(reader: Reader, name: str) -> str | None:
    edge = _match_edge(reader, name)
    return None if reader.demo else edge


def read_region(reader: Reader, name: str) -> str | None:
    region = _match_region(reader, name)
    return None if reader.demo else region


def read_account_sid(reader: Reader, name: str) -> str:
    """Return the account; outside demo mode, also check that what goes with it is set."""
    if reader.demo:
        return f"AC{reader.generated('demo-account-sid')}"
    names = ("TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN")
    for required, other in (names, names[::-1]):
        if not reader.text(required):
            reader.problem(required, f"required, because {other} is set")
    shape = "AC followed by 32 hexadecimal digits"
    if (reader.text(name) or "").startswith("SK"):
        shape += ". This is an API key (SK…), which cannot verify callbacks"
    sid = matching(ACCOUNT_SID, shape)(reader, name)
    if not (reader.words("TWILIO_PHONE_NUMBER") or reader.text("TWILIO_MESSAGING_SERVICE_SID")):
        reader.problem(
            "TWILIO_PHONE_NUMBER", "set this or TWILIO_MESSAGING_SERVICE_SID: there is no sender"
        )
    return sid or ""


def read_auth_token(reader: Reader, name: str) -> str:
    return reader.generated("demo-auth-token") if reader.demo else read_token(reader, name) or ""


def read_secondary_token(reader: Reader, name: str) -> str | None:
    if reader.demo:
        return reader.generated("demo-auth-token-secondary")
    return read_token(reader, name)


def read_subaccount_tokens(reader: Reader, name: str) -> dict[str, str]:
    tokens: dict[str, str] = {}
    for pair in reader.words(name):
        account, _, token = (part.strip() for part in pair.partition(":"))
        if not ACCOUNT_SID.fullmatch(account) or not token:
            reader.problem(name, "must be a comma list of account SID:token, such as AC…:…")
            break
        if account == reader.text("TWILIO_ACCOUNT_SID"):
            reader.problem(name, "names TWILIO_ACCOUNT_SID, whose token is TWILIO_AUTH_TOKEN")
            break
        if not _AUTH_TOKEN.fullmatch(token) and not is_placeholder(token):
            reader.problem(name, f"must have after each SID {_UNQUOTED_SHAPE}")
            break
        if fault := find_secret_fault(token):
            reader.problem(name, fault)
            break
        tokens[account] = token
    return tokens


def read_webhook_keys(reader: Reader, name: str) -> dict[str, str]:
    if reader.demo:
        return {DEMO_KEY_ID: reader.generated("demo-webhook-key")}
    keys: dict[str, str] = {}
    for pair in reader.words(name):
        key_id, _, secret = (part.strip() for part in pair.partition(":"))
        if not KEY_ID.fullmatch(key_id) or not secret:
            reader.problem(name, "must be a comma list of key id:secret")
            break
        if fault := "is the same as its key id" if secret == key_id else find_secret_fault(secret):
            reader.problem(name, fault)
            break
        if key_id in keys:
            reader.problem(name, "names the same key id twice")
            break
        keys[key_id] = secret
    return keys


def read_phone_numbers(reader: Reader, name: str) -> tuple[str, ...]:
    numbers = reader.words(name)
    if not all(_SENDER.fullmatch(number) for number in numbers):
        reader.problem(
            name,
            "must be a number like +15005550006 (several are separated by commas), "
            "a short code or an alphanumeric sender",
        )
    return numbers or ((DEMO_PHONE_NUMBER,) if reader.demo else ())
