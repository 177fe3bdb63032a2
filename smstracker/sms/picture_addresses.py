"""Picture addresses as people paste them: split where that is certain, else refused. Pure."""

import re
import unicodedata
from ipaddress import IPv6Address, ip_address
from urllib.parse import SplitResult, urlsplit

import idna

MAX_LENGTH = 2048
MAX_HOST_LENGTH = 253
EXAMPLE = "https://example.org/picture.jpg"

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.I)
_LOCAL_FILE = re.compile(r"(?:file|data|blob|content|cid):|[a-z]:[\\/]|[/\\~]", re.I)
# Legal within an address, so nobody can tell one with a comma from two that are joined by it.
_JOINED = re.compile(r"([,;|])https?://", re.I)
# Within an address, another one mostly follows "=", "/" or "?": `…/fetch?url=https://…`.
_GLUED = re.compile(r"https?://.*[^=/?&#:,;|]https?://", re.I)
_SEPARATORS = {
    ",": ("a comma", "%2C"),
    ";": ("a semicolon", "%3B"),
    "|": ("a vertical bar", "%7C"),
}
_ILLEGAL = re.compile(r'[<>"\\]')
_ENCLOSING = tuple("[](){}\"'`“”„‘’‚«»")
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.I)
_PRIVATE_NAMES = re.compile(r"(?:.*\.)?(?:localhost|local|internal|lan|home|corp|home\.arpa)", re.I)
_BAD_HOST = f"has no valid host name. Compare it with {EXAMPLE}."
_BAD_PORT = (
    "has a port that is no number from 1 to 65535. Mostly there is none: leave out “:” and it."
)
_PRIVATE = "leads into a private network, where Twilio cannot fetch it. Put it on a public server."


def split_addresses(text: str) -> list[tuple[int, str]]:
    """Return each address with its line number.

    No address contains white space, so a line is split there if an address follows each time. A
    comma or semicolon beside white space only separates; alone it may belong to an address.
    """
    addresses: list[tuple[int, str]] = []
    for number, line in enumerate(text.split("\n"), start=1):
        parts = [part for part in (word.lstrip(",;") for word in line.split()) if part]
        if len(parts) > 1 and not all(_SCHEME.match(part) for part in parts):
            parts = [line.strip()]
        addresses += [(number, part) for part in parts]
    return [(number, part.rstrip(",;")) for number, part in addresses[:-1]] + addresses[-1:]


def find_address_problem(address: str) -> str | None:
    """Return why Twilio cannot fetch the address, to follow "Line 2 "; None if it may."""
    problem = _spelling_problem(address) or _joined_problem(address) or _scheme_problem(address)
    if problem:
        return problem
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError as error:
        is_port = "port" in str(error).lower()
        return _BAD_PORT if is_port else _BAD_HOST
    if port == 0:
        return _BAD_PORT
    return _parts_problem(parts) or _host_problem((parts.hostname or "").removesuffix("."))


def _spelling_problem(address: str) -> str | None:
    if len(address) > MAX_LENGTH:
        return f"has {len(address):,} characters, and an address may have {MAX_LENGTH:,} at most."
    if address.startswith(_ENCLOSING):
        return "is in brackets or quotes. Write the addresses alone, each on a line of its own."
    if any(character.isspace() for character in address):
        return "has a blank in it. Write it as %20, or put each address on a line of its own."
    hidden = [character for character in address if not character.isprintable()]
    if hidden:
        name = unicodedata.name(hidden[0], "a control character").lower()
        code_point = f"U+{ord(hidden[0]):04X}"
        return f"has a character that cannot be seen ({name}, {code_point}). Type it anew."
    if illegal := _ILLEGAL.search(address):
        return f"has “{illegal[0]}” in it, which no address can have. Leave it out."
    return None


def _joined_problem(address: str) -> str | None:
    if _GLUED.search(address):
        return (
            "looks like two addresses without a space between. Put each on a line of its own; "
            "if it is one, write the “://” within it as %3A%2F%2F."
        )
    if joined := _JOINED.search(address):
        words, code = _SEPARATORS[joined[1]]
        return (
            f"looks like two addresses joined by {words}. Put each on a line of its own; "
            f"if it is one, write {words} as {code}."
        )
    if address[-1:] in _SEPARATORS:
        words, code = _SEPARATORS[address[-1]]
        return f"ends with {words}. Leave it out, or write it as {code} if it belongs to it."
    if "|" in address:
        return "has “|” in it. Write it as %7C, or put each address on a line of its own."
    return None


def _scheme_problem(address: str) -> str | None:
    if address.lower().startswith("https://"):
        return None
    if re.match(r"//[^/]", address):
        return f"lacks “https:” before its //, as in {EXAMPLE}."
    if _LOCAL_FILE.match(address):
        return (
            "is a file on your own device. Twilio fetches pictures from the web: "
            "put it on a web server and give its https address."
        )
    if scheme := _SCHEME.match(address):
        return f"must begin with https://, not {scheme[0].lower()}."
    return f"must begin with https://, as in {EXAMPLE}."


def _parts_problem(parts: SplitResult) -> str | None:
    if "@" in parts.netloc:
        return (
            "has a user name or password in it, which would be stored and shown here. "
            "Give an address that needs none."
        )
    if parts.fragment:
        return (
            "has a “#” in it, and what follows that never reaches a server. "
            "Leave it out, or write “#” as %23 if it belongs to the file name."
        )
    return None


def _host_problem(host: str) -> str | None:
    if not host:
        return f"has no host name after https://. Compare it with {EXAMPLE}."
    if not host.isascii():
        return _foreign_name_problem(host)
    if "_" in host:
        return "has an underscore in its host name, which Twilio refuses."
    try:
        return None if _is_public(host) else _PRIVATE
    except ValueError:
        pass
    labels = host.split(".")
    # A number at the end means an IP address, and a valid one was told apart above.
    is_named = len(host) <= MAX_HOST_LENGTH and all(map(_LABEL.fullmatch, labels))
    if not is_named or re.match(r"[0-9]+$|0x", labels[-1], re.I):
        return _BAD_HOST
    if len(labels) == 1 or _PRIVATE_NAMES.fullmatch(host):
        return _PRIVATE
    return None


def _is_public(host: str) -> bool:
    """Whether an IP address can be reached from outside. Raises ValueError if it is none."""
    address = ip_address(host)
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or address
    return address.is_global and not address.is_multicast


def _foreign_name_problem(host: str) -> str:
    try:
        name = idna.encode(host, uts46=True).decode()
    except idna.IDNAError:
        return _BAD_HOST
    return f"has a host name with letters that Twilio may not know. Write it as {name}."
