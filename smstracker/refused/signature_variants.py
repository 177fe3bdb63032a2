"""What a bad signature may be the good signature of: likely mistakes, and combinations of them."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import permutations, product
from urllib.parse import quote, quote_plus, unquote, unquote_plus, urlsplit

from werkzeug.datastructures import MultiDict

from smstracker.carrier.signatures import (
    HMAC_SHA1,
    HMAC_SHA256,
    Secret,
    is_signature,
    signed_fields,
)
from smstracker.refused.request import RefusedRequest

_NETLOC = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.\-]+)(?::([0-9]{1,5}))?")
_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")
_DEFAULT_PORTS = {"http": "80", "https": "443"}
# Of a query of more parameters, only the two usual orders are tried.
MOST_PERMUTED = 5
# There are many ways to rewrite a query: they are combined with one other mistake at most.
REORDERED, REENCODED = "query reordered", "query re-encoded"
_MANIFOLD = (REORDERED, REENCODED)
MOST_BESIDE = 1
# Characters that are hashed for one callback: all variants of any of Twilio's, and of a form that
# is made to cost the few hundred simplest.
MOST_HASHED = 4_000_000

Choice = tuple[str, str, int]  # what goes into the signed text, its name, and how many changes


@dataclass(frozen=True, slots=True)
class Variant:
    """What was signed: the address, and by name what else differs ("" for nothing)."""

    base: str
    path: str
    query: str
    fields: str
    token: str


def find_variant(
    evidence: RefusedRequest,
    base_url: str,
    secrets: Mapping[str, Secret],
    usual: tuple[str, ...],
) -> Variant | None:
    """The simplest variant that the signature fits. `usual` are the secrets that are no change."""
    signature = evidence.signature or ""
    if not any(is_signature(signature, algorithm) for algorithm in (HMAC_SHA1, HMAC_SHA256)):
        return None
    by_secret = [
        ("", name, int(name not in usual))
        for name, secret in secrets.items()
        if is_signature(signature, secret.algorithm)
    ]
    choices = product(
        list(_bases(evidence, base_url)),
        list(_paths(evidence.target)),
        list(_queries(evidence.target)),
        list(_forms(evidence.form)),
        by_secret,
    )
    left = MOST_HASHED
    for parts in sorted(filter(_is_likely, choices), key=_rank):
        # The text of the form is made once: with thousands of fields, that is what takes long.
        text = "".join(part for part, _, _ in parts)
        names = [name for _, name, _ in parts]
        if secrets[names[-1]].sign(text) == signature:
            return Variant(*names)
        left -= len(text)
        if left < 0:
            break
    return None


def _changes(parts: tuple[Choice, ...]) -> int:
    return sum(changes for _, _, changes in parts)


def _rank(parts: tuple[Choice, ...]) -> tuple[int, bool]:
    """The fewest changes first, and of as many those that there are few of."""
    return _changes(parts), parts[2][1] in _MANIFOLD


def _is_likely(parts: tuple[Choice, ...]) -> bool:
    return parts[2][1] not in _MANIFOLD or _changes(parts) <= 1 + MOST_BESIDE


def _bases(evidence: RefusedRequest, configured: str) -> Iterator[Choice]:
    """Scheme, host and port: as configured, as seen here, as a proxy says it saw them."""
    scheme, _, netloc = configured.partition("://")
    own_host, own_port = _host_and_port(netloc) or (netloc, "")
    forwarded = (evidence.forwarded_host or "").partition(",")[0].strip()
    seen = set()
    for named in (netloc, netloc.lower(), evidence.sent_host or "", forwarded):
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
    if not query:
        yield "?", "", 0
        return
    yield "", "query added", 1
    seen = {query}
    for other, name in (*_reordered(query), *_reencoded(query)):
        if other not in seen:
            seen.add(other)
            yield f"?{other}", name, 1


def _reordered(query: str) -> Iterator[tuple[str, str]]:
    parts = query.split("&")
    orders: Iterator[tuple[str, ...]] = iter((tuple(sorted(parts)), tuple(reversed(parts))))
    for order in permutations(parts) if len(parts) <= MOST_PERMUTED else orders:
        yield "&".join(order), REORDERED


def _reencoded(query: str) -> Iterator[tuple[str, str]]:
    """The same parameters with other escapes: what a proxy may have made this query of."""
    first = {rewrite(query) for rewrite in _REWRITES}
    second = {rewrite(once) for once in sorted(first) for rewrite in _REWRITES}
    for other in sorted(first | second):
        yield other, REENCODED


def _rewrite_parts(rewrite: Callable[[str], str]) -> Callable[[str], str]:
    """A change of names and values that leaves the `&` and `=` between them."""
    return lambda query: "".join(
        part if part in "&=" else rewrite(part) for part in re.split("([&=])", query)
    )


def _escapes(change: Callable[[str], str]) -> Callable[[str], str]:
    return lambda query: _ESCAPE.sub(lambda match: change(match[0]), query)


# Each undoes something that proxies and frameworks do to a query.
_REWRITES: tuple[Callable[[str], str], ...] = (
    _escapes(str.upper),
    _escapes(str.lower),
    lambda query: query.replace("+", "%20"),
    lambda query: query.replace("%20", "+"),
    _rewrite_parts(lambda part: part.replace("/", "%2F")),
    lambda query: query.replace("~", "%7E"),
    lambda query: query.replace("'", "%27"),
    _rewrite_parts(lambda part: quote(unquote(part), safe="")),
    _rewrite_parts(lambda part: quote(unquote(part), safe="/:@!$'()*,;")),
    _rewrite_parts(lambda part: quote_plus(unquote_plus(part))),
    _rewrite_parts(lambda part: quote(unquote_plus(part), safe="")),
    lambda query: query.removesuffix("="),
    lambda query: query.replace("=&", "&"),
)


def _forms(form: MultiDict[str, str]) -> Iterator[Choice]:
    """The fields as they are signed: sorted by name, one after the other."""
    every = sorted(set(form.items(multi=True)))
    as_it_is = signed_fields(form)
    without = "".join(name + value for name, value in every if value)
    trimmed = "".join(name + value.strip() for name, value in every)
    yield as_it_is, "", 0
    if without != as_it_is:
        yield without, "empty fields added", 1
    if trimmed != as_it_is:
        yield trimmed, "values padded", 1
