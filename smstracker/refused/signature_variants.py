"""Find what a wrong signature is valid for: likely mistakes and their combinations."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, permutations, product
from typing import NamedTuple
from urllib.parse import quote, quote_plus, unquote, unquote_plus

from werkzeug.datastructures import MultiDict

from smstracker.carrier.signatures import DEFAULT_PORTS, Secret, is_signature, signed_fields
from smstracker.refused.request import RefusedRequest

_NETLOC = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.\-]+)(?::([0-9]{1,5}))?")
_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")
# Of a longer query, only the two usual orders are tried.
MAX_PERMUTED_PARAMETERS = 5
# A callback URL has four slashes, and each that a proxy may have merged multiplies the variants.
MAX_MERGED_SLASHES = 8
# Fields that Twilio sends without a value.
MAY_BE_EMPTY = ("ErrorCode", "MessagingServiceSid")
_DECODED_PLUS = re.compile(r"(?<![^:]) (?=[0-9])")  # of +1555… or whatsapp:+1555…
REORDERED, REENCODED = "query reordered", "query re-encoded"
_QUERY_REWRITES = (REORDERED, REENCODED)
# There are many ways to rewrite a query, so few other changes are combined with one.
MAX_CHANGES_BESIDE_QUERY = 1
# For one callback: every variant of a genuine one, the simplest hundreds of one made to cost.
MAX_HASHED_CHARACTERS = 4_000_000


class Choice(NamedTuple):
    """A part of the signed text, the name of its difference, and its number of changes."""

    text: str
    name: str
    changes: int


@dataclass(frozen=True, slots=True)
class Variant:
    """Base address that was signed, and the names of the other differences ("": none)."""

    base: str
    path: str
    query: str
    fields: str
    token: str


def find_variant(
    request: RefusedRequest, base_url: str, secrets: Mapping[str, Secret], usual: tuple[str, ...]
) -> Variant | None:
    """The simplest variant that the signature fits; the `usual` secrets count as no change."""
    signature = request.signature or ""
    secret_choices = [
        Choice("", name, int(name not in usual))
        for name, secret in secrets.items()
        if is_signature(signature, secret.algorithm)
    ]
    if not secret_choices:
        return None
    target, form = request.target, request.form
    rest_choices = (_bases(request, base_url), _paths(target), _forms(form), secret_choices)
    characters_left = MAX_HASHED_CHARACTERS
    for parts in sorted(_combine(_queries(target), [*product(*rest_choices)]), key=_rank):
        text = "".join(part.text for part in parts)
        names = [part.name for part in parts]
        if secrets[names[-1]].sign(text) == signature:
            return Variant(*names)
        characters_left -= len(text)
        if characters_left < 0:
            break
    return None


def _changes(parts: tuple[Choice, ...]) -> int:
    return sum(part.changes for part in parts)


def _rank(parts: tuple[Choice, ...]) -> tuple[int, bool]:
    """Fewest changes first, rewritten queries last among equals."""
    return _changes(parts), parts[2].name in _QUERY_REWRITES


def _combine(
    queries: Iterable[Choice], rest_choices: Sequence[tuple[Choice, ...]]
) -> Iterator[tuple[Choice, ...]]:
    """The likely combinations of each query with base, path, form and secret."""
    few_changes = [parts for parts in rest_choices if _changes(parts) <= MAX_CHANGES_BESIDE_QUERY]
    for query in queries:
        for base, path, form, secret in (
            few_changes if query.name in _QUERY_REWRITES else rest_choices
        ):
            yield base, path, query, form, secret


def _bases(request: RefusedRequest, configured_base: str) -> Iterator[Choice]:
    """Scheme, host and port: as configured, as received, as a proxy reports them."""
    scheme, _, netloc = configured_base.partition("://")
    own_host, own_port = _host_and_port(netloc) or (netloc, "")
    forwarded = (request.forwarded_host or "").partition(",")[0].strip()
    bases = set()
    for candidate in (netloc, netloc.lower(), request.sent_host or "", forwarded):
        host, candidate_own_port = _host_and_port(candidate) or (own_host, own_port)
        for candidate_scheme in (scheme, "http" if scheme == "https" else "https"):
            default_port = str(DEFAULT_PORTS[candidate_scheme])
            for candidate_port in (candidate_own_port, own_port, "", default_port):
                port = f":{candidate_port}" if candidate_port else ""
                base = f"{candidate_scheme}://{host}{port}"
                changes = (candidate_scheme != scheme) + (host != own_host)
                changes += (candidate_port or default_port) != (own_port or default_port)
                if base not in bases:
                    bases.add(base)
                    # Named without the default port, although some sign it.
                    name = base.removesuffix(f":{default_port}")
                    yield Choice(base, name, changes)


def _host_and_port(netloc: str) -> tuple[str, str] | None:
    match = _NETLOC.fullmatch(netloc)
    return (match[1], match[2] or "") if match else None


def _paths(target: str) -> Iterator[Choice]:
    path = target.partition("?")[0]
    yield Choice(path, "", 0)
    if path.endswith("/"):
        yield Choice(path.rstrip("/"), "slash added", 1)
    else:
        yield Choice(f"{path}/", "slash removed", 1)
    if "//" in path:
        yield Choice(re.sub("/+", "/", path), "slash doubled", 1)
    for slash in islice(re.finditer("/+", path), MAX_MERGED_SLASHES):
        yield Choice(f"{path[: slash.start()]}/{path[slash.start() :]}", "slashes merged", 1)


def _queries(target: str) -> Iterator[Choice]:
    query = target.partition("?")[2]
    yield Choice(f"?{query}" if query else "", "", 0)
    if not query:
        yield Choice("?", "", 0)
        return
    yield Choice("", "query added", 1)
    queries = {query}
    for name, variants in ((REORDERED, _reorder(query)), (REENCODED, _reencode(query))):
        for variant in variants:
            if variant not in queries:
                queries.add(variant)
                yield Choice(f"?{variant}", name, 1)


def _reorder(query: str) -> Iterator[str]:
    parts = query.split("&")
    is_short = len(parts) <= MAX_PERMUTED_PARAMETERS
    return map("&".join, permutations(parts) if is_short else (sorted(parts), parts[::-1]))


def _reencode(query: str) -> list[str]:
    """Other escapes of the same parameters, from which a proxy may have made this query."""
    rewritten = {rewrite(query) for rewrite in _REWRITES}
    rewritten_twice = {rewrite(once) for once in sorted(rewritten) for rewrite in _REWRITES}
    return sorted(rewritten | rewritten_twice)


def _rewrite_parts(rewrite: Callable[[str], str]) -> Callable[[str], str]:
    """Rewrite names and values, but not the `&` and `=` between them."""
    return lambda query: "".join(
        part if part in "&=" else rewrite(part) for part in re.split("([&=])", query)
    )


def _rewrite_escapes(change: Callable[[str], str]) -> Callable[[str], str]:
    return lambda query: _ESCAPE.sub(lambda match: change(match[0]), query)


# Each undoes what proxies and frameworks do to a query.
_REWRITES: tuple[Callable[[str], str], ...] = (
    _rewrite_escapes(str.upper),
    _rewrite_escapes(str.lower),
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
    """The fields as they are signed: sorted by name and joined."""
    fields = sorted(set(form.items(multi=True)))
    signed = signed_fields(form)
    yield Choice(signed, "", 0)
    absent = [(name, "") for name in MAY_BE_EMPTY if name not in form]
    for name, other_fields in (
        ("empty fields added", [(name, value) for name, value in fields if value]),
        ("values padded", [(name, value.strip()) for name, value in fields]),
        ("plus signs decoded", [(name, _DECODED_PLUS.sub("+", value)) for name, value in fields]),
        *(("empty fields removed", [*fields, field]) for field in absent),
        ("empty fields removed", [*fields, *absent]),
    ):
        text = "".join(map("".join, sorted(other_fields)))
        if text != signed:
            yield Choice(text, name, 1)
