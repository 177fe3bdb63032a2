"""Why a callback was refused and what to do, in one sentence. Nothing here accepts anything.

The sentences are for grouping: none holds a number, a SID of a message, a path or a token.
"""

import re
from itertools import chain
from time import monotonic
from typing import Any

from sqlalchemy import Select, select

from config import KEY_ID, Config, is_loopback
from smstracker.carrier import Signer, current_carrier
from smstracker.carrier.signatures import (
    FORMER,
    HMAC_SHA1,
    HMAC_SHA256,
    PRIMARY,
    SECONDARY,
    SIGNATURE,
    SIGNATURE_SETTINGS,
    SUBACCOUNT,
    Signatures,
    SignatureSettings,
    is_signature,
)
from smstracker.extensions import db, settings
from smstracker.models import RefusedCallback
from smstracker.refused.payload import VERIFIED, find_misfit
from smstracker.refused.request import Refusal, RefusedRequest
from smstracker.refused.signature_variants import REENCODED, REORDERED, Variant, find_variant

Diagnosis = tuple[str, str | None]

# One that is made to cost takes a twentieth of a second; the worker's look-ups wait meanwhile.
LONGEST = 1.0  # seconds

READY = "Valid with today's settings: replay it."
UNSIGNED = (
    "There is no signature at all: not Twilio, or a proxy drops the header X-Twilio-Signature."
)
CUT = (
    "It is larger than what is kept (16 KB of the body, 2 KB of the address), "
    "so it can be neither explained nor replayed."
)
TOO_LARGE = "It is larger than any callback of Twilio's; its body was not kept."
ILL_FORMED = (
    f"Its signature is not one of Twilio's: not Twilio, or a proxy changes the header {SIGNATURE}."
)
NOT_A_FORM = (
    "It is not a form: another program posts here, or a proxy changes the header Content-Type."
)
SIGNED = "Twilio signed it"
UNREADABLE = (
    f"{SIGNED}, but it names no message or no status: "
    "another webhook of Twilio's, not a status callback, was given this app's address."
)
INBOUND = (
    f"{SIGNED}, but it is an incoming message, not a status callback: in the Twilio Console, give "
    "the number or Messaging Service another address for incoming messages. "
    "Text and numbers were not kept."
)
# By a field that only this webhook of Twilio's has.
OTHER_WEBHOOKS = {
    "CallSid": f"{SIGNED}, but it is about a call, not a status callback of a message",
    "ConversationSid": f"{SIGNED}, but it is about a conversation, not a status callback",
    "FactorSid": f"{SIGNED}, but it comes from Twilio Verify, not a status callback",
    "ServiceSid": f"{SIGNED}, but it comes from another Twilio service, not a status callback",
}
JSON = f"{SIGNED}, but it is JSON, as Event Streams and others post, not a status callback"
GIVE_ANOTHER = ": in the Twilio Console, give that webhook another address. Its body was not kept."
RECUT = (
    "Its signature fits, but its fields are not those that Twilio sends: somebody divided a "
    "captured callback anew. It changed nothing, and there is nothing to replay."
)
ELSEWHERE = (
    "It was sent to an address that is not one of this app's. They are "
    "{base}/webhooks/twilio/status and, for one message, {base}/webhooks/twilio/status/ID: "
    "correct it in the Twilio Console."
)
PROBE = "It was flask doctor, which tried the way: there is nothing to replay."
SIGNED_ELSEWHERE = f"{SIGNED}: replay it. "
STRANGER = (
    "It names account {account}, which is not TWILIO_ACCOUNT_SID: if it is your subaccount, "
    "add its token to TWILIO_SUBACCOUNT_TOKENS."
)
NOT_OUR_SIGNATURE = (
    "Signed with no token of yours: from another account, or not from Twilio. "
    "If callbacks of yours are missing, compare {setting} with the Twilio Console."
)
NOTHING_FITS = "Signed with no token of yours: from another account, or not from Twilio."
FOR_BASE = "for {found}, but PUBLIC_BASE_URL is {base}"
SET_BASE = "set PUBLIC_BASE_URL to {found}, or correct the address that Twilio was given"
USE_HTTPS = "correct the address that Twilio was given, which must begin with https"
# What differs, and what to do about it.
DIFFERENCES = {
    "slash added": ("without the slash at the end of the path", "a proxy adds it"),
    "slash removed": ("with a slash at the end of the path", "a proxy removes it"),
    "query added": ("without the query", "a proxy adds it"),
    "empty fields added": ("without the empty fields", "a proxy adds them"),
    "values padded": ("without the blanks around the values", "a proxy adds them"),
}
DIFFERENCES |= {
    REORDERED: ("with the query in another order", "a proxy sorts it"),
    REENCODED: ("with the query escaped in another way", "a proxy rewrites it"),
}
UNCHANGED = "let the proxy pass on path, query and body unchanged"
TOKENS = {
    PRIMARY: "with TWILIO_AUTH_TOKEN",
    SECONDARY: "with the secondary token",
    FORMER: "with the former token",
}
KEYS = "TWILIO_WEBHOOK_KEYS"
HEADER = f"the header {SIGNATURE_SETTINGS}"
HEADER_DROPPED = (
    f"Its signature is as long as a shared key's, but {HEADER} is missing: "
    "a proxy drops it; let the proxy pass it on."
)
VALID_WITHOUT_HEADER = (
    f"Valid with the shared key {{key}}, but {HEADER} is missing: "
    "a proxy drops it; let the proxy pass it on."
)
HEADER_UNREADABLE = f"{HEADER[0].upper()}{HEADER[1:]} names no key: not Twilio, or a proxy cuts it."
UNKNOWN_ALGORITHM = (
    "It is signed by an algorithm that this version does not know: "
    "set HMAC_SHA256 in the rule at Twilio, or update smstracker."
)
UNKNOWN_KEY = (
    "It names the shared key {key}, which TWILIO_WEBHOOK_KEYS lacks: if it is yours, add it there."
)
KEY_DOES_NOT_FIT = (
    "It names the shared key {key}, and no variant fits: compare its secret in "
    "TWILIO_WEBHOOK_KEYS with the one that Twilio gave. If they are equal, it is not from Twilio."
)
FOREIGN_TO_KEY = (
    "Twilio signed it with the shared key {key}, but it does not name TWILIO_ACCOUNT_SID: "
    "a shared key vouches for that account alone. Let the subaccount sign with its Auth Token."
)
HEADER_ADDED = (
    f"Valid with an Auth Token, but {HEADER} says that a shared key signed it: "
    "a proxy adds the header; let the proxy pass on the headers unchanged."
)
OF_ANOTHER_KEY = (
    "Valid with another shared key than {key}, which it names: compare the ids in "
    "TWILIO_WEBHOOK_KEYS with those at Twilio."
)
KEEP_FORMER = "set TWILIO_AUTH_TOKEN_SECONDARY to it until Twilio has ceased to sign with it"
NOT_ITS_OWN = "remove this account from TWILIO_SUBACCOUNT_TOKENS"

_ACCOUNT = re.compile(r"AC[0-9a-fA-F]{32}")


def is_proven(diagnosis: str | None) -> bool:
    """Whether a sentence of here says that one of our tokens signed it: it is Twilio's."""
    return diagnosis is not None and diagnosis.startswith(("Valid ", SIGNED))


def signer_today(evidence: RefusedRequest, config: Config, signatures: Signatures) -> Signer | None:
    """Who signed it by today's settings; None if it does not verify or was cut."""
    if not evidence.is_whole:
        return None
    url = config.public_base_url + evidence.target
    signature = evidence.signature or ""
    return signatures.identify_signer(url, evidence.form, signature, evidence.signature_settings)


def explain(evidence: RefusedRequest, config: Config, signatures: Signatures) -> Diagnosis:
    """The sentence, and the name of the setting that it is about, if it is about one."""
    if evidence.reason is Refusal.TOO_LARGE:
        return TOO_LARGE, None
    if signer_today(evidence, config, signatures):
        return _explain_signed(evidence, config), None
    # These were verified when they came; what is kept of them need not verify any more.
    if evidence.reason in VERIFIED:
        return _explain_misfit(evidence, evidence.reason), None
    if evidence.reason is Refusal.NOT_A_FORM:
        return NOT_A_FORM, None
    if evidence.reason is Refusal.ADDRESS:
        return ELSEWHERE.format(base=config.public_base_url), None
    if not evidence.signature:
        return UNSIGNED, None
    if not evidence.is_whole:
        return CUT, None
    return _explain_signature(evidence, config, signatures)


def _explain_signed(evidence: RefusedRequest, config: Config) -> str:
    misfit = find_misfit(evidence.form, evidence.target)
    if misfit:
        return _explain_misfit(evidence, misfit)
    if evidence.reason is Refusal.ADDRESS:
        return SIGNED_ELSEWHERE + ELSEWHERE.format(base=config.public_base_url)
    return READY


def _explain_misfit(evidence: RefusedRequest, misfit: Refusal) -> str:
    """Which webhook of Twilio's it is, or that it is none."""
    if misfit is Refusal.INBOUND:
        return INBOUND
    if misfit is Refusal.JSON:
        return JSON + GIVE_ANOTHER
    if misfit is Refusal.RECUT:
        return RECUT
    if "Nonce" in evidence.form:
        return PROBE
    kinds = (sentence for name, sentence in OTHER_WEBHOOKS.items() if name in evidence.form)
    kind = next(kinds, None)
    return kind + GIVE_ANOTHER if kind else UNREADABLE


def _explain_signature(
    evidence: RefusedRequest, config: Config, signatures: Signatures
) -> Diagnosis:
    signature = evidence.signature or ""
    settings = SignatureSettings.parse(evidence.signature_settings)
    if settings is not None:
        return _explain_shared_key(evidence, config, signatures, settings)
    if is_signature(signature, HMAC_SHA256):
        variant = find_variant(evidence, config.public_base_url, signatures.keys, ())
        return (VALID_WITHOUT_HEADER.format(key=variant.token) if variant else HEADER_DROPPED), None
    if not is_signature(signature, HMAC_SHA1):
        return ILL_FORMED, None
    return _explain_token(evidence, config, signatures)


def _explain_token(evidence: RefusedRequest, config: Config, signatures: Signatures) -> Diagnosis:
    account = evidence.account_sid or ""
    tokens = signatures.diagnostic_tokens(account)
    usual = (SUBACCOUNT,) if SUBACCOUNT in tokens else (PRIMARY, SECONDARY)
    variant = find_variant(evidence, config.public_base_url, tokens, usual)
    if variant:
        return _explain_variant(variant, config, usual)
    if signatures.has_token_for(account):
        own = account == config.twilio_account_sid
        setting = "TWILIO_AUTH_TOKEN" if own else "TWILIO_SUBACCOUNT_TOKENS"
        return NOT_OUR_SIGNATURE.format(setting=setting), setting
    if _ACCOUNT.fullmatch(account):
        return STRANGER.format(account=account), "TWILIO_SUBACCOUNT_TOKENS"
    return NOTHING_FITS, None


def _explain_shared_key(
    evidence: RefusedRequest, config: Config, signatures: Signatures, settings: SignatureSettings
) -> Diagnosis:
    """Why what names a shared key does not verify. Naming a key proves nothing."""
    signature = evidence.signature or ""
    if is_signature(signature, HMAC_SHA1):
        tokens = signatures.diagnostic_tokens(evidence.account_sid)
        fits = find_variant(evidence, config.public_base_url, tokens, tuple(tokens))
        if fits:
            return HEADER_ADDED, None
    elif not is_signature(signature, HMAC_SHA256):
        return ILL_FORMED, None
    key = settings.key_id
    if not KEY_ID.fullmatch(key) or not settings.algorithm:
        return HEADER_UNREADABLE, None
    if settings.algorithm != HMAC_SHA256:
        return UNKNOWN_ALGORITHM, None
    if not is_signature(signature, HMAC_SHA256):
        return ILL_FORMED, None
    variant = find_variant(evidence, config.public_base_url, signatures.keys, (key,))
    if variant is None:
        sentence = KEY_DOES_NOT_FIT if key in signatures.keys else UNKNOWN_KEY
        return sentence.format(key=key), KEYS
    if variant.token != key:
        return OF_ANOTHER_KEY.format(key=key), KEYS
    if evidence.account_sid != config.twilio_account_sid:
        return FOREIGN_TO_KEY.format(key=key), None
    return _explain_variant(variant, config, (key,))


def _explain_variant(variant: Variant, config: Config, usual: tuple[str, ...]) -> Diagnosis:
    valid, todo, setting = [], [], None
    if variant.token != usual[0]:
        valid.append(TOKENS[variant.token])
    if variant.token not in usual:
        setting = _setting_of_token(variant.token)
        todo.append(KEEP_FORMER if variant.token == FORMER else NOT_ITS_OWN)
    differences = [DIFFERENCES[d] for d in (variant.path, variant.query, variant.fields) if d]
    valid += [what for what, _ in differences]
    todo += [why for _, why in differences] + ([UNCHANGED] if differences else [])
    if variant.base != config.public_base_url:
        setting = "PUBLIC_BASE_URL"
        valid.append(FOR_BASE.format(found=variant.base, base=config.public_base_url))
        todo.append(_mend_base(variant.base))
    return f"Valid {', '.join(valid)}: {'; '.join(todo)}.", setting


def _setting_of_token(token: str) -> str:
    return "TWILIO_AUTH_TOKEN_SECONDARY" if token == FORMER else "TWILIO_SUBACCOUNT_TOKENS"


def _mend_base(found: str) -> str:
    scheme, _, netloc = found.partition("://")
    may_be_set = scheme == "https" or is_loopback(netloc.partition(":")[0])
    return SET_BASE.format(found=found) if may_be_set else USE_HTTPS


def diagnose_pending(limit: int = 200) -> int:
    """Explain some that nobody has explained yet, for `LONGEST` seconds; how many. Commit after.

    The newest and the oldest in turn: a flood must keep neither what came before it nor what comes
    after it waiting. What carries a signature goes before what does not.
    """
    is_pending = RefusedCallback.diagnosis.is_(None) & RefusedCallback.replayed_at.is_(None)
    pending = select(RefusedCallback.id).where(is_pending).limit(limit)
    pending = pending.order_by(RefusedCallback.signature.is_not(None).desc())
    newest = db.session.scalars(pending.order_by(RefusedCallback.id.desc()))
    oldest = db.session.scalars(pending.order_by(RefusedCallback.id))
    in_turn = dict.fromkeys(chain.from_iterable(zip(newest, oldest, strict=False)))
    return _diagnose(list(in_turn)[:limit], monotonic() + LONGEST)


def diagnose(wanted: Select[tuple[int]]) -> int:
    """Explain these by today's settings, whatever was said before; how many. Commit afterwards."""
    return _diagnose(list(db.session.scalars(wanted)), None)


def _diagnose(ids: list[int], until: float | None) -> int:
    """Explain these in this order, all or until then but one at least."""
    columns = select(*RefusedCallback.__table__.columns).where(RefusedCallback.id.in_(ids))
    rows = {row.id: row for row in db.session.execute(columns)}
    # While this thinks, no lock of ours must keep a callback waiting.
    db.session.commit()
    signatures = current_carrier().signatures
    explained: list[tuple[Any, Diagnosis]] = []
    for row in (rows[number] for number in ids if number in rows):
        if explained and until is not None and monotonic() >= until:
            break
        explained.append((row, explain(RefusedRequest.of(row), settings(), signatures)))
    # In the order in which the writer counts repeats, so that neither waits for the other.
    for row, (sentence, setting) in sorted(explained, key=lambda pair: pair[0].fingerprint):
        db.session.execute(
            RefusedCallback.set_diagnosis(row.id, sentence, setting, is_proven(sentence))
        )
    return len(explained)
