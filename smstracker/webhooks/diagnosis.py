"""Why a callback was refused and what to do, in one sentence. Nothing here accepts anything.

The sentences are for grouping: none holds a number, a SID of a message, a path or a token.
"""

import re

from sqlalchemy import Select, select

from config import Config, is_loopback
from smstracker.carrier import Signer, current_carrier
from smstracker.carrier.signatures import FORMER, PRIMARY, SECONDARY, SUBACCOUNT, Signatures
from smstracker.extensions import db, settings
from smstracker.models import RefusedCallback
from smstracker.webhooks.evidence import Evidence, Refusal
from smstracker.webhooks.forms import read_callback
from smstracker.webhooks.variants import Variant, find_variant

Diagnosis = tuple[str, str | None]

READY = "Valid with today's settings: replay it."
UNSIGNED = (
    "There is no signature at all: not Twilio, or a proxy drops the header X-Twilio-Signature."
)
CUT = (
    "It is larger than what is kept (16 KB of the body, 2 KB of the address), "
    "so it can be neither explained nor replayed."
)
TOO_LARGE = "It is larger than any callback of Twilio's; its body was not kept."
NOT_A_FORM = (
    "It is not a form: another program posts here, or a proxy changes the header Content-Type."
)
SIGNED = "Twilio signed it"
UNREADABLE = (
    f"{SIGNED}, but it names no message or no status: "
    "another webhook of Twilio's, not a status callback, was given this app's address."
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
    "No variant fits: another account's token, or not Twilio. If callbacks of yours are missing, "
    "compare {setting} with the Twilio Console."
)
NOTHING_FITS = "No variant fits: another account's token, or not Twilio."
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
UNCHANGED = "let the proxy pass on path, query and body unchanged"
TOKENS = {
    PRIMARY: "with TWILIO_AUTH_TOKEN",
    SECONDARY: "with the secondary token",
    FORMER: "with the former token",
}
KEEP_FORMER = "set TWILIO_AUTH_TOKEN_SECONDARY to it until Twilio has ceased to sign with it"
NOT_ITS_OWN = "remove this account from TWILIO_SUBACCOUNT_TOKENS"

_ACCOUNT = re.compile(r"AC[0-9a-fA-F]{32}")


def is_proven(diagnosis: str | None) -> bool:
    """Whether a sentence of here says that one of our tokens signed it: it is Twilio's."""
    return diagnosis is not None and diagnosis.startswith(("Valid ", SIGNED))


def signer_today(evidence: Evidence, config: Config, signatures: Signatures) -> Signer | None:
    """Who signed it by today's settings; None if it does not verify or was cut."""
    if not evidence.is_whole:
        return None
    url = config.public_base_url + evidence.target
    return signatures.signer(url, evidence.form, evidence.signature or "")


def explain(evidence: Evidence, config: Config, signatures: Signatures) -> Diagnosis:
    """The sentence, and the name of the setting that it is about, if it is about one."""
    if evidence.reason is Refusal.TOO_LARGE:
        return TOO_LARGE, None
    signer = signer_today(evidence, config, signatures)
    if signer:
        return _explain_signed(evidence, config, signer), None
    if evidence.reason is Refusal.NOT_A_FORM:
        return NOT_A_FORM, None
    if evidence.reason is Refusal.ADDRESS:
        return ELSEWHERE.format(base=config.public_base_url), None
    if not evidence.is_whole:
        return CUT, None
    if not evidence.signature:
        return UNSIGNED, None
    return _explain_signature(evidence, config, signatures)


def _explain_signed(evidence: Evidence, config: Config, signer: Signer) -> str:
    if read_callback(evidence.form, signer, None) is None:
        return PROBE if "Nonce" in evidence.form else UNREADABLE
    if evidence.reason is Refusal.ADDRESS:
        return SIGNED_ELSEWHERE + ELSEWHERE.format(base=config.public_base_url)
    return READY


def _explain_signature(evidence: Evidence, config: Config, signatures: Signatures) -> Diagnosis:
    account = evidence.account_sid or ""
    tokens = signatures.suspects(account)
    usual = (SUBACCOUNT,) if SUBACCOUNT in tokens else (PRIMARY, SECONDARY)
    sign = {name: validator.compute_signature for name, validator in tokens.items()}
    variant = find_variant(evidence, config.public_base_url, sign, usual)
    if variant:
        return _explain_variant(variant, config, usual)
    if signatures.knows(account):
        own = account == config.twilio_account_sid
        setting = "TWILIO_AUTH_TOKEN" if own else "TWILIO_SUBACCOUNT_TOKENS"
        return NOT_OUR_SIGNATURE.format(setting=setting), setting
    if _ACCOUNT.fullmatch(account):
        return STRANGER.format(account=account), "TWILIO_SUBACCOUNT_TOKENS"
    return NOTHING_FITS, None


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
    """Explain the newest that nobody has explained yet; how many. Commit afterwards."""
    is_pending = RefusedCallback.diagnosis.is_(None) & RefusedCallback.replayed_at.is_(None)
    # What carries a signature first: a flood of what does not must not keep it waiting.
    is_signed = RefusedCallback.signature.is_not(None)
    pending = select(RefusedCallback).where(is_pending)
    pending = pending.order_by(is_signed.desc(), RefusedCallback.id.desc())
    return diagnose(pending.limit(limit).with_only_columns(RefusedCallback.id))


def diagnose(wanted: Select[tuple[int]]) -> int:
    """Explain these by today's settings, whatever was said before; how many. Commit afterwards."""
    columns = select(*RefusedCallback.__table__.columns).where(RefusedCallback.id.in_(wanted))
    rows = db.session.execute(columns).all()
    # While this thinks, no lock of ours must keep a callback waiting.
    db.session.commit()
    signatures = current_carrier().signatures
    explained = [(row, explain(Evidence.of(row), settings(), signatures)) for row in rows]
    # In the order in which the writer counts repeats, so that neither waits for the other.
    for row, (sentence, setting) in sorted(explained, key=lambda one: one[0].fingerprint):
        db.session.execute(
            RefusedCallback.explained(row.id, sentence, setting, is_proven(sentence))
        )
    return len(rows)
