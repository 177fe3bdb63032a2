"""Who signed a status callback. The token is chosen by the account that it names, then verified."""

from dataclasses import dataclass

from twilio.request_validator import RequestValidator
from werkzeug.datastructures import MultiDict

from config import Config

Form = MultiDict[str, str]
PRIMARY, SECONDARY, FORMER, SUBACCOUNT = "primary", "secondary", "former", "subaccount"


@dataclass(frozen=True, slots=True)
class Signer:
    """The account whose token signed, and which token of it."""

    account_sid: str
    token: str


class Signatures:
    """Verifies with today's settings; safe to use from several threads."""

    def __init__(self, config: Config) -> None:
        self._account = config.twilio_account_sid
        names = (PRIMARY, SECONDARY)
        self._own = dict(zip(names, map(RequestValidator, config.auth_tokens), strict=False))
        former = config.twilio_auth_token_former
        self._former = {FORMER: RequestValidator(former)} if former else {}
        self._subaccounts = {
            account: RequestValidator(token)
            for account, token in config.twilio_subaccount_tokens.items()
        }

    def knows(self, account_sid: str | None) -> bool:
        """Whether callbacks of this account can verify at all."""
        return account_sid == self._account or account_sid in self._subaccounts

    def signer(self, url: str, form: Form, signature: str) -> Signer | None:
        """Who signed a callback to `url`, as it was asked for; None if it does not verify."""
        account = form.get("AccountSid", "")
        if account in self._subaccounts:
            fits = verifies(self._subaccounts[account], url, form, signature)
            return Signer(account, SUBACCOUNT) if fits else None
        for token, validator in self._own.items():
            if verifies(validator, url, form, signature):
                return Signer(self._account, token)
        return None

    def sign(self, url: str, form: dict[str, str]) -> str:
        """What Twilio would send as the signature of a callback to `url`."""
        return str(self._own[PRIMARY].compute_signature(url, form))

    def suspects(self, account_sid: str | None) -> dict[str, RequestValidator]:
        """The tokens to try when explaining a refusal; a former one never verifies a callback."""
        own = self._own | self._former
        if account_sid in self._subaccounts:
            return {SUBACCOUNT: self._subaccounts[account_sid]} | own
        return own


def verifies(validator: RequestValidator, url: str, form: Form, signature: str) -> bool:
    """The validator raises on some rubbish; whatever it cannot check does not verify."""
    try:
        return bool(validator.validate(url, form, signature))
    except Exception:
        return False
