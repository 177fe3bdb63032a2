"""Verification of signed callbacks: by an Auth Token (HMAC-SHA1) or a shared key (HMAC-SHA256).

The request only selects a secret: the account one of our tokens, the key id one of our keys. The
secret determines the hash, so no header can weaken a check. `twilio.request_validator` computes the
HMAC; the fields are concatenated here, once for all secrets.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from hmac import compare_digest
from typing import TYPE_CHECKING

from twilio.request_validator import HMAC_SHA1 as HMAC_SHA1
from twilio.request_validator import HMAC_SHA256 as HMAC_SHA256
from twilio.request_validator import RequestValidator
from werkzeug.datastructures import MultiDict

if TYPE_CHECKING:
    from config import Config

Form = MultiDict[str, str]
PRIMARY, SECONDARY, FORMER, SUBACCOUNT = "primary", "secondary", "former", "subaccount"
SHARED_KEY = "shared key"
SIGNATURE = "X-Twilio-Signature"
SIGNATURE_SETTINGS = "X-Twilio-Webhooks-Signature-Settings"
SIGNATURE_LENGTHS = (28, 44)  # Base64 of 20 and of 32 bytes
_SIGNATURE_PATTERNS = {
    algorithm: re.compile(f"[A-Za-z0-9+/]{{{length - 1}}}=")
    for algorithm, length in zip((HMAC_SHA1, HMAC_SHA256), SIGNATURE_LENGTHS, strict=True)
}
DEFAULT_PORTS = {"http": 80, "https": 443}
_ADDRESS = re.compile(r"([^/?]*)([^?]*)\??(.*)", re.DOTALL)
_NETLOC = re.compile(r"(.*?)(?::([0-9]+))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Signer:
    """The account that a secret authenticates, and the kind of secret."""

    account_sid: str
    token: str


@dataclass(frozen=True, slots=True)
class SignatureSettings:
    """The parsed header that names a shared key; a missing entry is empty."""

    key_id: str
    algorithm: str

    @classmethod
    def parse(cls, header: str | None) -> "SignatureSettings | None":
        """Parse the header; None without it. A repeated entry counts as missing."""
        if not header or not header.strip():
            return None
        entries: dict[str, list[str]] = {}
        for part in header.split(","):
            name, _, value = part.partition("=")
            entries.setdefault(name.strip(), []).append(value.strip())
        key_id, algorithm = (
            values[0] if len(values := entries.get(name, [])) == 1 else ""
            for name in ("key", "algorithm")
        )
        return cls(key_id, algorithm)


@dataclass(frozen=True, slots=True)
class Secret:
    """A token or key, with its hash algorithm."""

    value: str = field(repr=False)
    algorithm: str = HMAC_SHA1

    def sign(self, text: str) -> str:
        """Sign a text. Raises UnicodeEncodeError for a lone surrogate."""
        return str(RequestValidator(self.value).compute_signature(text, {}, self.algorithm))


class Signatures:
    """Verifies and makes signatures with the secrets of the settings. Thread safe."""

    def __init__(self, config: "Config") -> None:
        self.account_sid = config.twilio_account_sid
        self.base_url = config.public_base_url
        tokens = dict(zip((PRIMARY, SECONDARY), config.auth_tokens, strict=False))
        self._own = {name: Secret(token) for name, token in tokens.items()}
        self.token_marks = {name: _mark(token) for name, token in tokens.items()}
        former = config.twilio_auth_token_former
        self._former = {FORMER: Secret(former)} if former else {}
        subaccount_tokens = config.twilio_subaccount_tokens.items()
        self._subaccounts = {account: Secret(token) for account, token in subaccount_tokens}
        keys = config.twilio_webhook_keys.items()
        self.keys = {key_id: Secret(value, HMAC_SHA256) for key_id, value in keys}

    def has_token_for(self, account_sid: str | None) -> bool:
        """Whether callbacks of this account can verify."""
        return account_sid == self.account_sid or account_sid in self._subaccounts

    def may_verify(self, signature: str, settings_header: str | None) -> bool:
        """Whether the signature can verify with some form; checked before the form is read."""
        settings = SignatureSettings.parse(settings_header)
        if settings is None:
            return is_signature(signature, HMAC_SHA1)
        return self._key(settings) is not None and is_signature(signature, HMAC_SHA256)

    def identify_signer(
        self, url: str, form: Form, signature: str, settings_header: str | None = None
    ) -> Signer | None:
        """The signer of a callback to `url`, the requested URL; None if it does not verify."""
        if not self.may_verify(signature, settings_header):
            return None
        settings = SignatureSettings.parse(settings_header)
        text = signed_fields(form)
        for signer, secret in self._candidates(form.get("AccountSid", ""), settings):
            if verifies(secret, url, text, signature):
                return signer
        return None

    def signs_address(
        self, url: str, account: str, signature: str, settings_header: str | None
    ) -> bool:
        """Whether a secret for `account` signed the URL alone, as Twilio does for JSON."""
        settings = SignatureSettings.parse(settings_header)
        if settings is not None:
            key = self._key(settings)
            return key is not None and verifies(key, url, "", signature)
        candidates = self._candidates(account, settings)
        return any(verifies(secret, url, "", signature) for _, secret in candidates)

    def _candidates(
        self, account: str, settings: SignatureSettings | None
    ) -> Iterator[tuple[Signer, Secret]]:
        """The secrets that may authenticate a callback of `account`.

        A shared key belongs to our main account, which the callback must name; no subaccount.
        """
        if settings is not None:
            key = self._key(settings)
            if key is not None and account == self.account_sid:
                yield Signer(account, SHARED_KEY), key
        elif account in self._subaccounts:
            yield Signer(account, SUBACCOUNT), self._subaccounts[account]
        else:
            for name, secret in self._own.items():
                yield Signer(self.account_sid, name), secret

    def _key(self, settings: SignatureSettings) -> Secret | None:
        return self.keys.get(settings.key_id) if settings.algorithm == HMAC_SHA256 else None

    def sign_headers(self, url: str, form: dict[str, str], key_id: str | None) -> dict[str, str]:
        """The signature headers of a callback, by the Auth Token or one of our shared keys."""
        text = url + signed_fields(MultiDict(form))
        if key_id is None:
            return {SIGNATURE: self._own[PRIMARY].sign(text)}
        settings_header = f"key={key_id},algorithm={HMAC_SHA256}"
        return {SIGNATURE: self.keys[key_id].sign(text), SIGNATURE_SETTINGS: settings_header}

    def diagnostic_tokens(self, account_sid: str | None) -> dict[str, Secret]:
        """The tokens for the diagnosis of a refusal; the former one never verifies a callback."""
        own = self._own | self._former
        if account_sid in self._subaccounts:
            return {SUBACCOUNT: self._subaccounts[account_sid]} | own
        return own


def _mark(token: str) -> str:
    """Tell tokens apart without revealing them: 32 bits of a hash are too few to find one."""
    return hashlib.sha256(f"callback token {token}".encode()).hexdigest()[:8]


def is_signature(signature: str, algorithm: str) -> bool:
    """Whether the text has the format of a signature by this algorithm."""
    return _SIGNATURE_PATTERNS[algorithm].fullmatch(signature) is not None


def signed_fields(form: Form) -> str:
    """The signed text of the fields: sorted, each pair once, without separators."""
    return "".join(name + value for name, value in sorted(set(form.items(multi=True))))


def signed_addresses(url: str) -> Iterator[str]:
    """The spellings of one URL that Twilio may have signed; all of them lead to the same place.

    Twilio is inconsistent about ports, and signs a lone `?` if the configured URL has one.
    """
    scheme, _, address = url.partition("://")
    netloc, path, query = _ADDRESS.fullmatch(address).groups()  # type: ignore[union-attr]
    host, port = _NETLOC.fullmatch(netloc).groups()  # type: ignore[union-attr]
    for spelling in (netloc, host if port else f"{host}:{DEFAULT_PORTS[scheme]}"):
        yield f"{scheme}://{spelling}{path}" + (f"?{query}" if query else "")
        if not query:
            yield f"{scheme}://{spelling}{path}?"


def verifies(secret: Secret, url: str, fields: str, signature: str) -> bool:
    """Whether `secret` signed these fields for this URL; False if that cannot be computed."""
    try:
        signature_bytes = signature.encode()
        return any(
            compare_digest(secret.sign(address + fields).encode(), signature_bytes)
            for address in signed_addresses(url)
        )
    except ValueError:
        return False
