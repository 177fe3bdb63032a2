"""Call this app through its public address as Twilio would, and explain what blocks the way."""

import json
import secrets
import ssl
from dataclasses import dataclass
from hmac import compare_digest
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import SplitResult, urlencode, urljoin, urlsplit

from smstracker.carrier import current_carrier
from smstracker.carrier.errors import START_DEMO
from smstracker.carrier.signatures import DEFAULT_PORTS, SIGNATURE_SETTINGS
from smstracker.extensions import settings
from smstracker.network_errors import network_reason
from smstracker.refused.payload import FORM_TYPE
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

_NO_REDIRECT = "make the proxy in front of PUBLIC_BASE_URL answer without redirecting"


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Something that blocks the way, and its fix."""

    description: str
    fix: str


@dataclass(frozen=True, slots=True)
class _ProbeResponse:
    status: int
    location: str
    text: str
    is_proven: bool


_OBSTACLE_BY_STATUS = {
    200: Obstacle(
        "another program or installation answers there, or one with another SECRET_KEY",
        "point PUBLIC_BASE_URL at this app and give all its processes one SECRET_KEY",
    ),
    404: Obstacle(
        "a server answers there, but not for the app's addresses (404)",
        f"check PUBLIC_BASE_URL and that the proxy passes {CALLBACK_PREFIX}/ on to this version",
    ),
}


def find_obstacle() -> Obstacle | None:
    """Find what keeps Twilio's callbacks from arriving intact; None if nothing does.

    Posts a request signed with the Auth Token, then one with each shared key.
    """
    try:
        response = _post_probe(TEST_QUERY, TEST_FIELDS)
        if response.is_proven:
            return _find_key_obstacle()
        return _explain_refusal(response) if response.status == 403 else _explain_status(response)
    except ssl.SSLCertVerificationError:
        return Obstacle(
            "its certificate does not verify, so Twilio hangs up",
            "give the host of PUBLIC_BASE_URL a valid certificate, with its whole chain",
        )
    # A host name that cannot be put into DNS raises ValueError.
    except (OSError, HTTPException, ValueError) as error:
        description = f"it cannot be reached from this machine: {network_reason(error)}"
        if settings().demo:
            return Obstacle(description, START_DEMO)
        return Obstacle(
            description,
            "start the app and check PUBLIC_BASE_URL, proxy and firewall. Some networks cannot "
            "reach their own public address: then open PUBLIC_BASE_URL/healthz from outside",
        )


def _find_key_obstacle() -> Obstacle | None:
    for key_id in settings().twilio_webhook_keys:
        if not _post_probe(TEST_QUERY, TEST_FIELDS, key_id).is_proven:
            return Obstacle(
                f"a request signed with the shared key {key_id} does not arrive as sent, while one "
                "signed with the Auth Token does",
                f"make the proxy pass on the header {SIGNATURE_SETTINGS}, and start the app again "
                "if TWILIO_WEBHOOK_KEYS has changed",
            )
    return None


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
        response = connection.getresponse()
        text = response.read(MAX_RESPONSE_BYTES).decode(errors="replace")
        location = response.headers.get("Location", "")
        is_proven = response.status == 200 and _proves(text, nonce)
        return _ProbeResponse(response.status, location, text, is_proven)
    finally:
        connection.close()


def _proves(text: str, nonce: str) -> bool:
    try:
        answer = json.loads(text)["proof"]
    except (ValueError, KeyError, TypeError):
        return False
    return compare_digest(str(answer).encode(), compute_proof(nonce).encode())


def _explain_refusal(response: _ProbeResponse) -> Obstacle:
    if not response.text.startswith("Forbidden"):
        return Obstacle(
            "something in front of the app answers with 403",
            f"let POST requests to {CALLBACK_PREFIX}/ through the proxy or firewall",
        )
    if not _post_probe("", {}).is_proven:
        return Obstacle(
            "the app there refuses a signature that is valid with the settings of this command",
            "start the app again, so that it and this command have the same TWILIO_AUTH_TOKEN "
            "and PUBLIC_BASE_URL; if they do already, the proxy changes the path",
        )
    changed_parts = [
        part
        for part, query, fields in (("query string", TEST_QUERY, {}), ("form", "", TEST_FIELDS))
        if not _post_probe(query, fields).is_proven
    ]
    verb = "do" if len(changed_parts) == 2 else "does"
    return Obstacle(
        f"the {' and the '.join(changed_parts) or 'request'} {verb} not arrive as sent, "
        "so signatures do not verify",
        "make the proxy in front of PUBLIC_BASE_URL pass path, query and body on unchanged",
    )


def _explain_status(response: _ProbeResponse) -> Obstacle:
    status = response.status
    if status in _OBSTACLE_BY_STATUS:
        return _OBSTACLE_BY_STATUS[status]
    if 300 <= status < 400:
        return _explain_redirect(response.location)
    if status >= 500:
        return Obstacle(
            f"it answers with {status}",
            "check that the app runs, that the proxy in front of PUBLIC_BASE_URL reaches it, and "
            "the app's log",
        )
    return Obstacle(
        f"it answers with {status} before the app is asked",
        f"let POST requests to {CALLBACK_PREFIX}/ through, without password, limit or filter",
    )


def _explain_redirect(location: str) -> Obstacle:
    base = settings().public_base_url
    base_endpoint = _endpoint(urlsplit(base))
    try:
        target = urlsplit(urljoin(base, location))
        target_endpoint = _endpoint(target)
    except ValueError:
        target_endpoint = base_endpoint
    if base_endpoint == target_endpoint:
        return Obstacle(f"{base} redirects to another path of itself", _NO_REDIRECT)
    address = f"{target.scheme}://{target.netloc.rpartition('@')[2]}"
    printable_address = "".join(character for character in address if character.isprintable())[:100]
    redirects = f"it redirects from {base} to {printable_address}"
    if base_endpoint[1].removeprefix("www.") != target_endpoint[1].removeprefix("www."):
        return Obstacle(
            f"{redirects}: a login or another site stands in front of the app",
            f"let POST requests to {CALLBACK_PREFIX}/ through to the app without a login or "
            "redirect",
        )
    if base_endpoint[0] == "https" != target_endpoint[0]:
        return Obstacle(redirects, _NO_REDIRECT)
    fix = f"set PUBLIC_BASE_URL to the address that does not redirect (perhaps {printable_address})"
    return Obstacle(redirects, fix)


def _endpoint(url: SplitResult) -> tuple[str, str, int | None]:
    return url.scheme, url.hostname or "", url.port or DEFAULT_PORTS.get(url.scheme)
