"""Who signed a status callback: an Auth Token (HMAC-SHA1) or a shared key (HMAC-SHA256).

What a request says of itself only selects: an account one of our tokens, a key id one of our keys.
The hash follows from the kind of secret, so no header can make a check weaker. The HMAC is computed
by `twilio.request_validator`; here the fields are put together once and not once for each secret.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from hmac import compare_digest

from twilio.request_validator import HMAC_SHA1, HMAC_SHA256, RequestValidator
from werkzeug.datastructures import MultiDict

from config import Config

__all__ = [
    "HMAC_SHA1",
    "HMAC_SHA256",
    "SIGNATURE",
    "SIGNATURE_SETTINGS",
    "Secret",
    "SignatureSettings",
    "Signatures",
    "Signer",
    "is_signature",
    "signed_fields",
]

Form = MultiDict[str, str]
PRIMARY, SECONDARY, FORMER, SUBACCOUNT = "primary", "secondary", "former", "subaccount"
SHARED_KEY = "shared key"
SIGNATURE = "X-Twilio-Signature"
SIGNATURE_SETTINGS = "X-Twilio-Webhooks-Signature-Settings"
# Base64 of 20 and of 32 bytes.
_SHAPES = {
    HMAC_SHA1: re.compile(r"[A-Za-z0-9+/]{27}="),
    HMAC_SHA256: re.compile(r"[A-Za-z0-9+/]{43}="),
}
DEFAULT_PORTS = {"http": 80, "https": 443}
_ADDRESS = re.compile(r"([^/?]*)([^?]*)\??(.*)", re.DOTALL)
_NETLOC = re.compile(r"(.*?)(?::([0-9]+))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Signer:
    """The account that a secret vouches for, and which kind of secret it is."""

    account_sid: str
    token: str


@dataclass(frozen=True, slots=True)
class SignatureSettings:
    """The header that names a shared key; an entry that it lacks is empty."""

    key_id: str
    algorithm: str

    @classmethod
    def parse(cls, header: str | None) -> "SignatureSettings | None":
        """None without the header. An entry that comes twice counts as missing."""
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
    """A token or key with the one hash that it may be used with."""

    validator: RequestValidator
    algorithm: str = HMAC_SHA1

    def sign(self, text: str) -> str:
        """The signature of `text`. Raises UnicodeEncodeError for half of a surrogate pair."""
        return str(self.validator.compute_signature(text, {}, self.algorithm))


class Signatures:
    """Verifies with today's settings; safe to use from several threads."""

    def __init__(self, config: Config) -> None:
        self._account = config.twilio_account_sid
        self._own = {
            name: Secret(RequestValidator(token))
            for name, token in zip((PRIMARY, SECONDARY), config.auth_tokens, strict=False)
        }
        former = config.twilio_auth_token_former
        self._former = {FORMER: Secret(RequestValidator(former))} if former else {}
        self._subaccounts = {
            account: Secret(RequestValidator(token))
            for account, token in config.twilio_subaccount_tokens.items()
        }
        self.keys = {
            key_id: Secret(RequestValidator(secret), HMAC_SHA256)
            for key_id, secret in config.twilio_webhook_keys.items()
        }

    def has_token_for(self, account_sid: str | None) -> bool:
        """Whether callbacks of this account can verify at all."""
        return account_sid == self._account or account_sid in self._subaccounts

    def may_verify(self, signature: str, settings_header: str | None) -> bool:
        """Whether any form could make this signature right: asked before the form is read."""
        settings = SignatureSettings.parse(settings_header)
        if settings is None:
            return is_signature(signature, HMAC_SHA1)
        return self._key(settings) is not None and is_signature(signature, HMAC_SHA256)

    def identify_signer(
        self, url: str, form: Form, signature: str, settings_header: str | None = None
    ) -> Signer | None:
        """Who signed a callback to `url`, as it was asked for; None if it does not verify."""
        if not self.may_verify(signature, settings_header):
            return None
        settings = SignatureSettings.parse(settings_header)
        text = signed_fields(form)
        for signer, secret in self._candidates(form.get("AccountSid", ""), settings):
            if verifies(secret, url, text, signature):
                return signer
        return None

    def signs_address(self, url: str, signature: str, settings_header: str | None) -> bool:
        """Whether any secret of ours signed the address alone, as Twilio signs JSON."""
        settings = SignatureSettings.parse(settings_header)
        if settings is not None:
            key = self._key(settings)
            return key is not None and verifies(key, url, "", signature)
        tokens = (*self._own.values(), *self._subaccounts.values())
        return any(verifies(token, url, "", signature) for token in tokens)

    def _candidates(
        self, account: str, settings: SignatureSettings | None
    ) -> Iterator[tuple[Signer, Secret]]:
        """The secrets that may vouch for a callback of `account`.

        A shared key belongs to our own account: it vouches for no subaccount, and the callback has
        to name the account.
        """
        if settings is not None:
            key = self._key(settings)
            if key is not None and account == self._account:
                yield Signer(account, SHARED_KEY), key
        elif account in self._subaccounts:
            yield Signer(account, SUBACCOUNT), self._subaccounts[account]
        else:
            for name, secret in self._own.items():
                yield Signer(self._account, name), secret

    def _key(self, settings: SignatureSettings) -> Secret | None:
        return self.keys.get(settings.key_id) if settings.algorithm == HMAC_SHA256 else None

    def headers(self, url: str, form: dict[str, str], key_id: str | None = None) -> dict[str, str]:
        """What Twilio would sign a callback with: the Auth Token, or a shared key of ours."""
        text = url + signed_fields(MultiDict(form))
        if key_id is None:
            return {SIGNATURE: self._own[PRIMARY].sign(text)}
        named = f"key={key_id},algorithm={HMAC_SHA256}"
        return {SIGNATURE: self.keys[key_id].sign(text), SIGNATURE_SETTINGS: named}

    def diagnostic_tokens(self, account_sid: str | None) -> dict[str, Secret]:
        """The tokens to try when explaining a refusal; a former one never verifies a callback."""
        own = self._own | self._former
        if account_sid in self._subaccounts:
            return {SUBACCOUNT: self._subaccounts[account_sid]} | own
        return own


def is_signature(signature: str, algorithm: str) -> bool:
    """Whether this has the form of a signature by this algorithm."""
    return _SHAPES[algorithm].fullmatch(signature) is not None


def signed_fields(form: Form) -> str:
    """The fields as they are signed: sorted, each pair once, with nothing between them."""
    return "".join(name + value for name, value in sorted(set(form.items(multi=True))))


def signed_addresses(url: str) -> Iterator[str]:
    """The spellings of one address that Twilio may have signed.

    It is inconsistent about ports, and whether a lone `?` is signed depends on who typed the
    address. None of these leads anywhere else.
    """
    scheme, _, rest = url.partition("://")
    netloc, path, query = _ADDRESS.fullmatch(rest).groups()  # type: ignore[union-attr]
    host, port = _NETLOC.fullmatch(netloc).groups()  # type: ignore[union-attr]
    for spelling in (netloc, host if port else f"{host}:{DEFAULT_PORTS[scheme]}"):
        yield f"{scheme}://{spelling}{path}" + (f"?{query}" if query else "")
        if not query:
            yield f"{scheme}://{spelling}{path}?"


def verifies(secret: Secret, url: str, fields: str, signature: str) -> bool:
    """Whether `secret` signed these fields for this address; what cannot be checked does not."""
    try:
        given = signature.encode()
        return any(
            compare_digest(secret.sign(address + fields).encode(), given)
            for address in signed_addresses(url)
        )
    except ValueError:
        return False
