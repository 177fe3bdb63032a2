"""What a bad signature may be the good signature of: likely mistakes, and combinations of them."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from urllib.parse import urlsplit

from werkzeug.datastructures import MultiDict

from smstracker.webhooks.evidence import Evidence

_SIGNATURE = re.compile(r"[A-Za-z0-9+/]{27}=")  # an HMAC-SHA1 in Base64
_NETLOC = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.\-]+)(?::([0-9]{1,5}))?")
_DEFAULT_PORTS = {"http": "80", "https": "443"}

Choice = tuple[str, str, int]  # what goes into the signed text, its name, and how many changes
Sign = Callable[[str, dict[str, str]], str]


@dataclass(frozen=True, slots=True)
class Variant:
    """What was signed: the address, and by name what else differs ("" for nothing)."""

    base: str
    path: str
    query: str
    fields: str
    token: str


def find_variant(
    evidence: Evidence,
    base_url: str,
    tokens: Mapping[str, Sign],
    usual: tuple[str, ...],
) -> Variant | None:
    """The simplest variant that the signature fits. `usual` are the tokens that are no change."""
    signature = evidence.signature or ""
    if not _SIGNATURE.fullmatch(signature):
        return None
    by_token = [("", name, int(name not in usual)) for name in tokens]
    choices = product(
        list(_bases(evidence, base_url)),
        list(_paths(evidence.target)),
        list(_queries(evidence.target)),
        list(_forms(evidence.form)),
        by_token,
    )
    for parts in sorted(choices, key=lambda some: sum(changes for _, _, changes in some)):
        # The text of the form is made once: with thousands of fields, that is what takes long.
        text = "".join(part for part, _, _ in parts)
        names = [name for _, name, _ in parts]
        if tokens[names[-1]](text, {}) == signature:
            return Variant(*names)
    return None


def _bases(evidence: Evidence, configured: str) -> Iterator[Choice]:
    """Scheme, host and port: as configured, as seen here, as a proxy says it saw them."""
    scheme, _, netloc = configured.partition("://")
    own_host, own_port = _host_and_port(netloc) or (netloc, "")
    forwarded = (evidence.forwarded_host or "").partition(",")[0].strip()
    seen = set()
    for named in (netloc, evidence.sent_host or "", forwarded):
        host, port = _host_and_port(named) or (own_host, own_port)
        for used in (scheme, "http" if scheme == "https" else "https"):
            default = _DEFAULT_PORTS[used]
            for given in (port, own_port, "", default):
                base = _address(used, host, given)
                changes = (used != scheme) + (host != own_host)
                changes += (given or default) != (own_port or default)
                if base not in seen:
                    seen.add(base)
                    # The default port is none, although some sign it.
                    yield base, _address(used, host, "" if given == default else given), changes


def _address(scheme: str, host: str, port: str) -> str:
    return f"{scheme}://{host}:{port}" if port else f"{scheme}://{host}"


def _host_and_port(netloc: str) -> tuple[str, str] | None:
    match = _NETLOC.fullmatch(netloc)
    return (match[1], match[2] or "") if match else None


def _paths(target: str) -> Iterator[Choice]:
    path = urlsplit(target).path
    yield path, "", 0
    if path.endswith("/"):
        yield path.rstrip("/"), "slash added", 1
    else:
        yield f"{path}/", "slash removed", 1


def _queries(target: str) -> Iterator[Choice]:
    query = urlsplit(target).query
    yield f"?{query}" if query else "", "", 0
    if query:
        yield "", "query added", 1


def _forms(form: MultiDict[str, str]) -> Iterator[Choice]:
    """The fields as they are signed: sorted by name, one after the other."""
    every = sorted(set(form.items(multi=True)))
    as_it_is = "".join(name + value for name, value in every)
    without = "".join(name + value for name, value in every if value)
    trimmed = "".join(name + value.strip() for name, value in every)
    yield as_it_is, "", 0
    if without != as_it_is:
        yield without, "empty fields added", 1
    if trimmed != as_it_is:
        yield trimmed, "values padded", 1
