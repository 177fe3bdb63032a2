"""Mail addresses: one spelling each, or the reason for a refusal. Pure."""

import re

from email_validator import SPECIAL_USE_DOMAIN_NAMES, EmailNotValidError, validate_email

from smstracker.sms.typed_text import is_invisible

# The library refuses domains without public mail. A private network may well have mail at
# name@clinic.local or name@home.arpa, so `_is_reserved` decides.
SPECIAL_USE_DOMAIN_NAMES.clear()
# The one domain without a dot: mail to it stays on the machine, also in a demo. Any other is an
# unfinished address (anna@gmail), or an intranet's short name, which each mail server completes by
# itself, and which a certificate or another server does not know (RFC 5321, 2.3.5). The whole name
# of that works: name@mail.clinic.local.
LOCALHOST = "localhost"

MAX_LENGTH = 254
LONGEST_LOCAL_PART = 64  # RFC 5321, 4.5.3.1.1
# What Japanese keyboards type for ASCII. No server takes these in a local part, so no address but
# the ASCII one can be meant.
_HALF_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}
_ENDS = {".": "dot", "\u3002": "dot", "\uff61": "dot", ",": "comma", "\u3001": "comma"}
_ENDS |= {";": "semicolon", ":": "colon"}
NOT_AN_ADDRESS = "That does not look like an e-mail address, such as name@example.org."


class MailAddressError(ValueError):
    """The text is no usable address; the message says why, for the person who typed it."""


def normalize_email(text: str) -> str:
    """Return the one spelling of an address: local part in small letters, domain as A-label.

    Domains follow IDNA 2008 (UTS 46, non-transitional), so ß is not ss. Blanks and invisible
    characters around the address are dropped, inside they are refused. Full-width letters and
    signs are taken for ASCII. Raises MailAddressError.
    """
    address = half_width(_trim(text))
    reason = _refusal(address)
    if reason:
        raise MailAddressError(reason)
    try:
        parts = validate_email(
            address, check_deliverability=False, allow_smtputf8=False, globally_deliverable=False
        )
    except EmailNotValidError as error:
        raise MailAddressError(_domain_refusal(address)) from error
    spelling = f"{parts.local_part.lower()}@{parts.ascii_domain}"
    if _is_reserved(parts.ascii_domain):
        raise MailAddressError(f"“{parts.domain}” is a reserved name, where nobody has mail.")
    if parts.ascii_domain.rpartition(".")[2].isdecimal():
        raise MailAddressError(_domain_refusal(address))
    if "." not in parts.ascii_domain and parts.ascii_domain != LOCALHOST:
        raise MailAddressError(
            f"“{parts.domain}” has no dot. Type the whole domain, such as example.org."
        )
    if len(spelling) > MAX_LENGTH:
        raise MailAddressError("That is too long for an e-mail address.")
    return spelling


def normalize_domain(text: str) -> str:
    """Return the one spelling of a mail domain, as A-label. Raises MailAddressError."""
    return normalize_email(f"x@{_trim(text)}").partition("@")[2]


def normalize_entry(entry: str) -> str:
    """Return the one spelling of an address or @domain. Raises MailAddressError."""
    entry = half_width(entry)
    refuse_pattern(entry)
    return "@" + normalize_domain(entry[1:]) if entry.startswith("@") else normalize_email(entry)


def half_width(text: str) -> str:
    """The text with full-width letters, digits and signs as ASCII."""
    return text.translate(_HALF_WIDTH)


def refuse_pattern(text: str) -> None:
    """Raise MailAddressError if the text looks like a pattern, such as `*@` or `@*.`.

    These signs are legal in an address, but rare: as an address it would silently admit nobody.
    """
    if re.search(r"[*%?^$|\\\[\](){}]", half_width(text)):
        raise MailAddressError(
            "That is a pattern. A whole domain is @example.org in SIGN_IN_ALLOW."
        )


def _trim(text: str) -> str:
    return text.strip("".join(c for c in text if c.isspace() or is_invisible(c)))


def _is_reserved(domain: str) -> bool:
    """Recognise domains without mail (RFC 6761, RFC 7686, and reverse look-ups in `arpa`)."""
    top = domain.rpartition(".")[2]
    return top in ("invalid", "onion", "arpa") and not f".{domain}".endswith(".home.arpa")


def _refusal(address: str) -> str | None:
    """Return why the text is no address, where we can say it better than the library."""
    local, at_sign, domain = address.rpartition("@")
    if len(address) > MAX_LENGTH:
        return "That is too long for an e-mail address."
    if any(map(is_invisible, address)):
        return "There is an invisible character in this address. Type it by hand."
    if re.search("[<>]|^mailto:", address, re.I):
        return "Type the address alone, without a name, “mailto:” or angle brackets."
    if '"' in address:
        return "An address in quotation marks cannot be used here."
    if not at_sign or not local or not domain:
        return NOT_AN_ADDRESS
    if domain.startswith("["):
        return "After the @, a name such as example.org is needed, not a number in brackets."
    if address[-1] in _ENDS:
        return f"The address ends with a {_ENDS[address[-1]]}. Leave it out."
    return _local_refusal(local)


def _local_refusal(local: str) -> str | None:
    if not local.isascii():
        return "Before the @, only the letters a to z, digits and signs such as . - + can be used."
    if len(local) > LONGEST_LOCAL_PART:
        return f"Before the @, an address has at most {LONGEST_LOCAL_PART} characters."
    if "" in local.split("."):
        return "Before the @, a dot cannot be first or last or follow another dot."
    return None


def _domain_refusal(address: str) -> str:
    """Return the sentence for a refusal of the library; it names the domain if that is at fault."""
    local, _, domain = address.rpartition("@")
    try:
        validate_email(f"{local}@example.com", check_deliverability=False)
    except EmailNotValidError:
        return NOT_AN_ADDRESS
    name = "".join(filter(str.isprintable, domain))
    return f"“{name}” is not the name of a mail domain. Check its spelling."
