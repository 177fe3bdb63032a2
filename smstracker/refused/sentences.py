"""Sentences on refused callbacks, as data.

They group refusals: none holds a number, a SID of a message, a path or a token.
"""

from smstracker.carrier.signatures import FORMER, PRIMARY, SECONDARY, SIGNATURE, SIGNATURE_SETTINGS
from smstracker.refused.body import MAX_KEPT_BYTES
from smstracker.refused.request import MAX_TARGET_LENGTH
from smstracker.refused.signature_variants import REENCODED, REORDERED
from smstracker.refused.status_callback import Refusal
from smstracker.web.urls import STATUS_PATH

_REASONS = {
    Refusal.SIGNATURE: "The signature does not verify",
    Refusal.NOT_A_FORM: "Not a form",
    Refusal.TOO_LARGE: "Larger than any callback",
    Refusal.ADDRESS: "Not a callback address",
    Refusal.INBOUND: "An incoming message, not a status callback",
    Refusal.JSON: "JSON of another webhook",
    Refusal.RECUT: "A captured callback with rearranged fields",
    Refusal.UNREADABLE: "Signed, but without a message SID or status",
}


def refusal_reason(reason: str) -> str:
    """The words for a stored reason, which another version may have stored."""
    return _REASONS[Refusal(reason)] if reason in _REASONS else f"Refused ({reason})"


# No advice: nothing is left to do.
APPLIED = "It was refused at first, and has been applied."
READY = "Valid with today's settings: replay it."
UNSIGNED = f"It has no signature: it is not from Twilio, or a proxy drops the header {SIGNATURE}."
TRUNCATED = (
    f"It is larger than what is kept ({MAX_KEPT_BYTES // 1024} KB of the body, "
    f"{MAX_TARGET_LENGTH // 1024} KB of the address), "
    "so it can be neither explained nor replayed."
)
TOO_LARGE = "It is larger than any callback from Twilio; its body was not kept."
ILL_FORMED = (
    "Its signature cannot be Twilio's: it is not from Twilio, or a proxy changes the header "
    f"{SIGNATURE}."
)
NOT_A_FORM = (
    "It is not a form: another program posts here, or a proxy changes the header Content-Type."
)
TWILIO_SIGNED_IT = "Twilio signed it"
UNREADABLE = (
    f"{TWILIO_SIGNED_IT}, but it names no message or no status: "
    "another webhook at Twilio, not a status callback, has this app's address."
)
INBOUND = (
    f"{TWILIO_SIGNED_IT}, but it is an incoming message, not a status callback: in the Twilio "
    "Console, give the number or Messaging Service another address for incoming messages. "
    "Its text and phone numbers were not kept."
)
# Of the other webhooks, by a field that only they have.
OTHER_WEBHOOK = (
    f"{TWILIO_SIGNED_IT}, but it {{description}}: "
    "in the Twilio Console, give that webhook another address. Its body was not kept."
)
OTHER_WEBHOOKS = {
    "CallSid": "is about a call, not a status callback of a message",
    "ConversationSid": "is about a conversation, not a status callback",
    "FactorSid": "comes from Twilio Verify, not a status callback",
    "ServiceSid": "comes from another service of Twilio's, not a status callback",
}
BY_REFUSAL = {
    Refusal.INBOUND: INBOUND,
    Refusal.JSON: OTHER_WEBHOOK.format(
        description="is JSON (Event Streams and others), not a status callback"
    ),
    Refusal.RECUT: "Its signature fits, but its fields are not those that Twilio sends: somebody "
    "rearranged a captured callback. It changed nothing, and there is nothing to replay.",
}
UNKNOWN_ADDRESS = (
    "It was sent to an address that is not one of this app's. They are "
    f"{{base}}{STATUS_PATH} and, for one message, {{base}}{STATUS_PATH}/ID: "
    "correct it in the Twilio Console."
)
PROBE = "It is a test request of flask doctor: there is nothing to replay."
SIGNED_TO_UNKNOWN_ADDRESS = f"{TWILIO_SIGNED_IT}: replay it. "
UNKNOWN_ACCOUNT = (
    "It names account {account}, which is not TWILIO_ACCOUNT_SID: if it is your subaccount, "
    "add its token to TWILIO_SUBACCOUNT_TOKENS."
)
SIGNED_BY_OTHER = (
    "No token of yours fits at any address tried: another token, another address of this "
    "app, another account, or not from Twilio."
)
SIGNED_BY_NONE = (
    SIGNED_BY_OTHER + " If callbacks are missing, compare {setting}, and the callback URL at "
    "Twilio with PUBLIC_BASE_URL."
)
FOR_BASE = "for {signed_base}, but PUBLIC_BASE_URL is {base}"
SET_BASE = "set PUBLIC_BASE_URL to {signed_base}, or correct the address at Twilio"
USE_HTTPS = "correct the address at Twilio: it must begin with https"
# Under which condition the signature is valid, and what causes the difference.
DIFFERENCES = {
    "slash added": ("without the slash at the end of the path", "a proxy adds it"),
    "slash removed": ("with a slash at the end of the path", "a proxy removes it"),
    "slash doubled": ("with single slashes in the path", "a proxy doubles one"),
    "slashes merged": ("with a doubled slash in the path", "a proxy merges them"),
    "query added": ("without the query", "a proxy adds it"),
    "empty fields added": ("without the empty fields", "a proxy adds them"),
    "values padded": ("without the blanks around the values", "a proxy adds them"),
    REORDERED: ("with the query in another order", "a proxy sorts it"),
    REENCODED: ("with the query escaped in another way", "a proxy rewrites it"),
}
CHANGE_NOTHING = "let the proxy pass on path, query and body unchanged"
TOKENS = {
    PRIMARY: "with TWILIO_AUTH_TOKEN",
    SECONDARY: "with the secondary token",
    FORMER: "with the former token",
}
KEYS_SETTING = "TWILIO_WEBHOOK_KEYS"
SETTINGS_HEADER = f"the header {SIGNATURE_SETTINGS}"
HEADER_MISSING = f"but {SETTINGS_HEADER} is missing: a proxy drops it; let the proxy pass it on."
HEADER_DROPPED = f"Its signature is as long as a shared key's, {HEADER_MISSING}"
VALID_WITHOUT_HEADER = f"Valid with the shared key {{key}}, {HEADER_MISSING}"
HEADER_UNREADABLE = (
    f"The header {SIGNATURE_SETTINGS} names no key: it is not from Twilio, or a proxy cuts it."
)
UNKNOWN_ALGORITHM = (
    "This version does not know the algorithm that signed it: "
    "set HMAC_SHA256 in the rule at Twilio, or update smstracker."
)
UNKNOWN_KEY = (
    "It names the shared key {key}, which TWILIO_WEBHOOK_KEYS lacks: if it is yours, add it there."
)
NOT_SIGNED_BY_KEY = (
    "It names the shared key {key}, which did not sign it: compare its secret in "
    "TWILIO_WEBHOOK_KEYS with the one at Twilio. If they are equal, it is not from Twilio."
)
KEY_FOR_OTHER_ACCOUNT = (
    "Twilio signed it with the shared key {key}, but it does not name TWILIO_ACCOUNT_SID: "
    "a shared key vouches for that account alone. Let the subaccount sign with its Auth Token."
)
HEADER_ADDED = (
    f"Valid with an Auth Token, but {SETTINGS_HEADER} says that a shared key signed it: "
    "a proxy adds the header; let the proxy pass on the headers unchanged."
)
SIGNED_BY_OTHER_KEY = (
    "Valid with another shared key than the {key} that it names: compare the ids in "
    "TWILIO_WEBHOOK_KEYS with those at Twilio."
)
# What to do about a token that should not have signed, and the setting.
SET_SECONDARY = (
    "set TWILIO_AUTH_TOKEN_SECONDARY to it until Twilio stops signing with it",
    "TWILIO_AUTH_TOKEN_SECONDARY",
)
REMOVE_ACCOUNT = ("remove this account from TWILIO_SUBACCOUNT_TOKENS", "TWILIO_SUBACCOUNT_TOKENS")
