"""Call this app through its public address as Twilio would, and explain what blocks the way.

Data in callback_probe.toml.
"""

import json
import secrets
import ssl
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hmac import compare_digest
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlencode, urljoin, urlsplit

from smstracker.callback_requests.payload import FORM_TYPE
from smstracker.carrier import current_carrier
from smstracker.carrier.errors import START_DEMO
from smstracker.carrier.signatures import DEFAULT_PORTS, SIGNATURE_SETTINGS
from smstracker.clock import format_duration, utcnow
from smstracker.extensions import settings
from smstracker.network_errors import network_reason
from smstracker.plurals import format_count
from smstracker.web.urls import CALLBACK_PREFIX, external_url
from smstracker.webhooks.views import compute_proof

TIMEOUT_SECONDS = 10.0  # to connect, and for each part of the response
MAX_RESPONSE_BYTES = 4096

# Proxies tend to rewrite these; each rewrite breaks a signature.
TEST_QUERY = "?escapes=a%2Fb%7Ec%27d%C3%A9&blank=&plus=1+1%2B1"
TEST_FIELDS = {
    "Blank": "",
    "Spaces": "  at both ends ",
    "Unicode": "Zoë ✓ 🚀",
    "Plus": "1+1=2 & more",
}

_OBSTACLES = tomllib.loads(Path(__file__).with_name("callback_probe.toml").read_text("utf-8"))


# Callbacks arrive in spite of these.
PASSABLE = ("ending_certificate", "unknown_proxy")
# Whoever renews a certificate by a program does so with a third of its time left, or earlier.
MIN_CERTIFICATE_LEFT, MIN_CERTIFICATE_SHARE = timedelta(days=14), 1 / 3


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Something that blocks the way or soon may, and its fix. `name` is that in the data."""

    name: str
    description: str
    fix: str


@dataclass(frozen=True, slots=True)
class _ProbeResponse:
    status: int
    location: str
    text: str
    is_proven: bool
    proxies: int  # that the app has seen
    certificate: Mapping[str, Any]


def _obstacle(name: str, **values: object) -> Obstacle:
    """An obstacle by its name in the data, with `values` filled in."""
    facts = {"prefix": CALLBACK_PREFIX, "settings_header": SIGNATURE_SETTINGS}
    texts = _OBSTACLES[name].items()
    return Obstacle(name, **{field: text.format(**facts, **values) for field, text in texts})


def find_obstacle() -> Obstacle | None:
    """Find what keeps Twilio's callbacks from arriving intact; None if nothing does.

    Posts a request signed with the Auth Token, then one with each shared key.
    """
    try:
        response = _post_probe(TEST_QUERY, TEST_FIELDS)
        if response.is_proven:
            return _find_key_obstacle() or _find_passable(response)
        return _explain_refusal(response) if response.status == 403 else _explain_status(response)
    except ssl.SSLCertVerificationError:
        return _obstacle("invalid_certificate")
    # A host name that cannot be put into DNS raises ValueError.
    except (OSError, HTTPException, ValueError) as error:
        unreachable = _obstacle("unreachable", reason=network_reason(error))
        return replace(unreachable, fix=START_DEMO) if settings().demo else unreachable


def _find_key_obstacle() -> Obstacle | None:
    for key_id in settings().twilio_webhook_keys:
        if not _post_probe(TEST_QUERY, TEST_FIELDS, key_id).is_proven:
            return _obstacle("changed_headers", key=key_id)
    return None


def _find_passable(response: _ProbeResponse) -> Obstacle | None:
    if response.certificate:
        start, end = (_read_time(response.certificate, name) for name in ("notBefore", "notAfter"))
        rest_of_life = end - utcnow()
        if rest_of_life < min(MIN_CERTIFICATE_LEFT, (end - start) * MIN_CERTIFICATE_SHARE):
            return _obstacle("ending_certificate", left=format_duration(rest_of_life))
    trusted = settings().trusted_proxies
    if response.proxies > trusted:
        count = format_count(response.proxies, "proxy", "proxies")
        return _obstacle("unknown_proxy", count=count, proxies=response.proxies, trusted=trusted)
    return None


def _read_time(certificate: Mapping[str, Any], name: str) -> datetime:
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(certificate[name]), UTC)


def _post_probe(query: str, fields: dict[str, str], key_id: str | None = None) -> _ProbeResponse:
    nonce = secrets.token_hex(16)
    form = {"Nonce": nonce, "AccountSid": settings().twilio_account_sid, **fields}
    url = external_url("webhooks.probe") + query
    parts = urlsplit(url)
    headers = {
        "Content-Type": FORM_TYPE,
        "User-Agent": "smstracker-doctor",
        **current_carrier().signatures.sign_headers(url, form, key_id),
    }
    connection_class = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = connection_class(parts.hostname or "", parts.port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("POST", f"{parts.path}{query}", urlencode(form), headers)
        # The response may close the socket.
        encrypted = connection.sock if isinstance(connection.sock, ssl.SSLSocket) else None
        certificate = encrypted and encrypted.getpeercert()
        response = connection.getresponse()
        text = response.read(MAX_RESPONSE_BYTES).decode(errors="replace")
        location = response.headers.get("Location", "")
        answer = _read_answer(text) if response.status == 200 else {}
        proof, proxies = str(answer.get("proof")), answer.get("proxies", 0)
        return _ProbeResponse(
            response.status,
            location,
            text,
            is_proven=compare_digest(proof.encode(), compute_proof(nonce).encode()),
            proxies=proxies if isinstance(proxies, int) else 0,
            certificate=certificate or {},
        )
    finally:
        connection.close()


def _read_answer(text: str) -> dict[str, Any]:
    """The object of the app's answer; empty if it is none."""
    try:
        answer = json.loads(text)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _explain_refusal(response: _ProbeResponse) -> Obstacle:
    if not response.text.startswith("Forbidden"):
        return _obstacle("forbidden")
    if not _post_probe("", {}).is_proven:
        return _obstacle("other_settings")
    changed_parts = [
        part
        for part, query, fields in (("query string", TEST_QUERY, {}), ("form", "", TEST_FIELDS))
        if not _post_probe(query, fields).is_proven
    ]
    verb = "do" if len(changed_parts) == 2 else "does"
    parts = f"{' and the '.join(changed_parts) or 'request'} {verb}"
    return _obstacle("changed_request", parts=parts)


def _explain_status(response: _ProbeResponse) -> Obstacle:
    status = response.status
    if 300 <= status < 400:
        return _explain_redirect(response.location)
    if status in (200, 404):
        return _obstacle("another_program" if status == 200 else "wrong_path")
    return _obstacle("server_error" if status >= 500 else "blocked", status=status)


def _explain_redirect(location: str) -> Obstacle:
    base = settings().public_base_url
    base_endpoint = _endpoint(urlsplit(base))
    try:
        target = urlsplit(urljoin(base, location))
        target_endpoint = _endpoint(target)
    except ValueError:
        target_endpoint = base_endpoint
    if base_endpoint == target_endpoint:
        return _obstacle("redirect_to_itself", base=base)
    address = f"{target.scheme}://{target.netloc.rpartition('@')[2]}"
    printable_address = "".join(character for character in address if character.isprintable())[:100]
    values = {"base": base, "target": printable_address}
    if base_endpoint[1].removeprefix("www.") != target_endpoint[1].removeprefix("www."):
        return _obstacle("redirect_elsewhere", **values)
    is_from_https = base_endpoint[0] == "https" != target_endpoint[0]
    return _obstacle("redirect_from_https" if is_from_https else "redirect", **values)


def _endpoint(url: SplitResult) -> tuple[str, str, int | None]:
    return url.scheme, url.hostname or "", url.port or DEFAULT_PORTS.get(url.scheme)
