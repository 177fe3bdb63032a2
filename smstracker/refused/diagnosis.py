"""Find out why a callback was refused. Nothing here accepts anything."""

from typing import NamedTuple

from smstracker.callback_requests.status_callback import VERIFIED, Refusal, find_refusal
from smstracker.carrier.signatures import (
    FORMER,
    HMAC_SHA1,
    HMAC_SHA256,
    PRIMARY,
    SECONDARY,
    SUBACCOUNT,
    Signatures,
    SignatureSettings,
    Signer,
    is_signature,
)
from smstracker.refused.request import RefusedRequest
from smstracker.refused.sentences import DIFFERENCES, OTHER_WEBHOOKS, READY, TOKENS, sentence
from smstracker.refused.signature_variants import Variant, find_variant
from smstracker.settings.addresses import is_loopback
from smstracker.settings.twilio import ACCOUNT_SID, KEY_ID

KEYS_SETTING, SUBACCOUNTS_SETTING = "TWILIO_WEBHOOK_KEYS", "TWILIO_SUBACCOUNT_TOKENS"
_PROOFS = ("Valid ", "Twilio signed it")


class Diagnosis(NamedTuple):
    """Reason of a refusal in a sentence (None: not diagnosed yet), and the setting at fault."""

    sentence: str | None = None
    setting: str | None = None


def is_proven(diagnosis: str | None) -> bool:
    """Whether a diagnosis says that one of our secrets signed the request, so it is Twilio's."""
    return diagnosis is not None and diagnosis.startswith(_PROOFS)


def identify_signer(request: RefusedRequest, signatures: Signatures) -> Signer | None:
    """Verify with today's settings; None if the signature does not verify or something was cut."""
    if not request.is_whole:
        return None
    url = signatures.base_url + request.target
    signature = request.signature or ""
    return signatures.identify_signer(url, request.form, signature, request.signature_settings)


def diagnose_request(request: RefusedRequest, signatures: Signatures) -> Diagnosis:
    """Explain a refusal by today's settings; READY if it would be applied now."""
    if request.reason is Refusal.TOO_LARGE:
        return Diagnosis(sentence(request.reason))
    if identify_signer(request, signatures):
        return Diagnosis(_explain_signed(request, signatures.base_url))
    # Verified on arrival; the redacted copy need not verify any more.
    if request.reason in VERIFIED:
        return Diagnosis(_explain_verified(request, request.reason))
    if request.reason is Refusal.NOT_A_FORM:
        return Diagnosis(sentence(request.reason))
    if request.reason is Refusal.ADDRESS:
        return Diagnosis(sentence("unknown_address", base=signatures.base_url))
    if not request.signature:
        return Diagnosis(sentence("unsigned"))
    if not request.is_whole:
        return Diagnosis(sentence("truncated"))
    return _explain_signature(request, signatures)


def _explain_signed(request: RefusedRequest, base_url: str) -> str:
    if refusal := find_refusal(request.form, request.target):
        return _explain_verified(request, refusal)
    if request.reason is Refusal.ADDRESS:
        advice = sentence("unknown_address", base=base_url)
        return f"{sentence('signed_to_unknown_address')} {advice}"
    return READY


def _explain_verified(request: RefusedRequest, refusal: Refusal) -> str:
    """Name the webhook of Twilio's, if it is one."""
    if refusal is not Refusal.UNREADABLE:
        return sentence(refusal)
    if "Nonce" in request.form:
        return sentence("probe")
    for name, description in OTHER_WEBHOOKS.items():
        if name in request.form:
            return sentence("other_webhook", description=description)
    return sentence(refusal)


def _explain_signature(request: RefusedRequest, signatures: Signatures) -> Diagnosis:
    signature = request.signature or ""
    settings = SignatureSettings.parse(request.signature_settings)
    if settings is not None:
        return _explain_shared_key(request, signatures, settings)
    if is_signature(signature, HMAC_SHA256):
        variant = find_variant(request, signatures.base_url, signatures.keys, ())
        if variant is None:
            return Diagnosis(sentence("header_dropped"))
        return Diagnosis(sentence("valid_without_header", key=variant.token))
    if not is_signature(signature, HMAC_SHA1):
        return Diagnosis(sentence("ill_formed"))
    return _explain_token(request, signatures)


def _explain_token(request: RefusedRequest, signatures: Signatures) -> Diagnosis:
    account = request.account_sid or ""
    tokens = signatures.diagnostic_tokens(account)
    usual_tokens = (SUBACCOUNT,) if SUBACCOUNT in tokens else (PRIMARY, SECONDARY)
    if variant := find_variant(request, signatures.base_url, tokens, usual_tokens):
        return _explain_variant(variant, signatures.base_url, usual_tokens)
    if signatures.has_token_for(account):
        is_own_account = account == signatures.account_sid
        setting = "TWILIO_AUTH_TOKEN" if is_own_account else SUBACCOUNTS_SETTING
        advice = sentence("compare_token", setting=setting)
        return Diagnosis(f"{sentence('signed_by_other')} {advice}", setting)
    if ACCOUNT_SID.fullmatch(account):
        return Diagnosis(sentence("unknown_account", account=account), SUBACCOUNTS_SETTING)
    return Diagnosis(sentence("signed_by_other"))


def _explain_shared_key(
    request: RefusedRequest, signatures: Signatures, settings: SignatureSettings
) -> Diagnosis:
    """Explain a request that names a shared key, which proves nothing."""
    signature = request.signature or ""
    if is_signature(signature, HMAC_SHA1):
        tokens = signatures.diagnostic_tokens(request.account_sid)
        if find_variant(request, signatures.base_url, tokens, tuple(tokens)):
            return Diagnosis(sentence("header_added"))
    elif not is_signature(signature, HMAC_SHA256):
        return Diagnosis(sentence("ill_formed"))
    key = settings.key_id
    if not KEY_ID.fullmatch(key) or not settings.algorithm:
        return Diagnosis(sentence("header_unreadable"))
    if settings.algorithm != HMAC_SHA256:
        return Diagnosis(sentence("unknown_algorithm"))
    if not is_signature(signature, HMAC_SHA256):
        return Diagnosis(sentence("ill_formed"))
    variant = find_variant(request, signatures.base_url, signatures.keys, (key,))
    if variant is None:
        is_known = key in signatures.keys
        text = sentence("not_signed_by_key" if is_known else "unknown_key", key=key)
        return Diagnosis(text, KEYS_SETTING)
    if variant.token != key:
        return Diagnosis(sentence("signed_by_other_key", key=key), KEYS_SETTING)
    if request.account_sid != signatures.account_sid:
        return Diagnosis(sentence("key_for_other_account", key=key))
    return _explain_variant(variant, signatures.base_url, (key,))


def _explain_variant(variant: Variant, base_url: str, usual_secrets: tuple[str, ...]) -> Diagnosis:
    conditions: list[str] = []
    fixes: list[str] = []
    setting: str | None = None
    if variant.token != usual_secrets[0]:
        conditions.append(TOKENS[variant.token])
    if variant.token not in usual_secrets:
        is_former = variant.token == FORMER
        setting = "TWILIO_AUTH_TOKEN_SECONDARY" if is_former else SUBACCOUNTS_SETTING
        fixes.append(sentence("set_secondary" if is_former else "remove_account"))
    names = filter(None, (variant.path, variant.query, variant.fields))
    differences = [DIFFERENCES[name] for name in names]
    conditions += [condition for condition, _ in differences]
    fixes += [cause for _, cause in differences] + [sentence("change_nothing")] * bool(differences)
    if variant.base != base_url:
        setting = "PUBLIC_BASE_URL"
        conditions.append(sentence("for_base", signed_base=variant.base, base=base_url))
        fixes.append(_fix_base(variant.base))
    return Diagnosis(f"Valid {', '.join(conditions)}: {'; '.join(fixes)}.", setting)


def _fix_base(base: str) -> str:
    scheme, _, netloc = base.partition("://")
    is_valid_setting = scheme == "https" or is_loopback(netloc.partition(":")[0])
    return sentence("set_base", signed_base=base) if is_valid_setting else sentence("use_https")
