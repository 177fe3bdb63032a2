"""Why a callback was refused: every likely mistake, signed for real, is told by its sentence."""

import time
from typing import Any
from urllib.parse import urlencode

import pytest
from werkzeug.datastructures import MultiDict

from smstracker.callback_requests.status_callback import Refusal
from smstracker.carrier.signatures import Secret, Signatures
from smstracker.connection.refused_page import split_long
from smstracker.refused import signature_variants
from smstracker.refused.diagnosis import diagnose_request
from smstracker.refused.request import RefusedRequest
from smstracker.refused.signature_variants import MAX_HASHED_CHARACTERS
from tests.live_settings import settings
from tests.refused_callbacks import STRANGER
from tests.signing import (
    ACCOUNT_SID,
    BASE_URL,
    PRIMARY,
    SECONDARY,
    STATUS_PATH,
    fields,
    sid,
    signature,
)

FORMER = "a" * 32
SUBACCOUNT, SUBTOKEN = "AC" + "5" * 32, "b" * 32
PATH = f"{STATUS_PATH}/0b0e7b0c-0000-4000-8000-000000000001"
ALL = {
    "TWILIO_AUTH_TOKEN_FORMER": FORMER,
    "TWILIO_SUBACCOUNT_TOKENS": f"{SUBACCOUNT}:{SUBTOKEN}",
}


def received(form: dict[str, str], path: str = PATH, **changes: Any) -> RefusedRequest:
    """What arrived here, signed over `signed` (address and path) with `token`."""
    signed = changes.pop("signed", BASE_URL + path)
    over = changes.pop("over", form)
    body = changes.pop("body", urlencode(form).encode())
    columns: dict[str, Any] = {
        "reason": Refusal.SIGNATURE,
        "is_plausible": True,
        "target": path,
        "sent_host": "sms.example.org",
        "forwarded_host": None,
        "forwarded_proto": None,
        "content_type": "application/x-www-form-urlencoded",
        "signature": signature("", MultiDict(over), changes.pop("token", PRIMARY), signed),
        "idempotency_token": None,
        "body": body,
        "body_length": len(body),
        "account_sid": form.get("AccountSid"),
        "twilio_sid": form.get("MessageSid"),
        "status": form.get("MessageStatus"),
    }
    return RefusedRequest(**columns | changes)


def diagnose(request: RefusedRequest, **changed: str) -> tuple[str, str | None]:
    return diagnose_request(request, Signatures(settings(**ALL | changed)))


FORM = fields(sid(1), "sent")
BLANK = FORM | {"Blank": "", "Padded": " a "}
NO_BLANKS = {name: value for name, value in BLANK.items() if value}
WHATSAPP = FORM | {"From": "whatsapp:+15005550006"}
OF_SUB = FORM | {"AccountSid": SUBACCOUNT}


@pytest.mark.parametrize(
    ("evidence", "sentence", "setting"),
    [
        (
            received(FORM, signed=f"http://sms.example.org{PATH}"),
            "Valid for http://sms.example.org, but PUBLIC_BASE_URL is https://sms.example.org: "
            "correct the address at Twilio: it must begin with https.",
            "PUBLIC_BASE_URL",
        ),
        (
            received(FORM, signed=f"https://new.example.org{PATH}", sent_host="new.example.org"),
            "Valid for https://new.example.org, but PUBLIC_BASE_URL is https://sms.example.org: "
            "set PUBLIC_BASE_URL to https://new.example.org, "
            "or correct the address at Twilio. After a move to another address change nothing: "
            "messages sent before it keep the old one, and are looked up.",
            "PUBLIC_BASE_URL",
        ),
        (
            received(
                FORM,
                signed=f"https://new.example.org{PATH}",
                sent_host="10.0.0.7:8000",
                forwarded_host="new.example.org, inner",
            ),
            "Valid for https://new.example.org, but",
            "PUBLIC_BASE_URL",
        ),
        (
            received(FORM, signed=f"{BASE_URL}:8443{PATH}", sent_host="sms.example.org:8443"),
            "Valid for https://sms.example.org:8443, but",
            "PUBLIC_BASE_URL",
        ),
        (
            received(FORM, signed=f"{BASE_URL}{PATH}/"),
            "Valid with a slash at the end of the path: a proxy removes it; "
            "let the proxy pass on path, query and body unchanged.",
            None,
        ),
        (
            received(FORM, f"{PATH}/", signed=BASE_URL + PATH),
            "Valid without the slash at the end of the path: a proxy adds it; ",
            None,
        ),
        (
            received(FORM, signed=f"{BASE_URL}/{PATH}"),
            "Valid with a doubled slash in the path: a proxy merges them; ",
            None,
        ),
        (
            received(FORM, signed=BASE_URL + PATH.replace("/twilio", "//twilio")),
            "Valid with a doubled slash in the path: ",
            None,
        ),
        (
            received(FORM, f"/{PATH}", signed=BASE_URL + PATH),
            "Valid with single slashes in the path: a proxy doubles one; ",
            None,
        ),
        (
            received(FORM, PATH.replace("/status", "//status"), signed=BASE_URL + PATH),
            "Valid with single slashes in the path: ",
            None,
        ),
        (received(FORM, f"{PATH}?a=1", signed=BASE_URL + PATH), "Valid without the query: ", None),
        (
            received(BLANK, over=NO_BLANKS),
            "Valid without the empty fields: a proxy adds them; ",
            None,
        ),
        (
            received(BLANK, over=BLANK | {"Padded": "a"}),
            "Valid without the blanks around the values: a proxy adds them; ",
            None,
        ),
        (
            received(FORM | {"To": " 15558675310", "From": "whatsapp: 15005550006"}, over=WHATSAPP),
            "Valid with a + for the blank before a number: a proxy decodes the body twice; ",
            None,
        ),
        *(
            (
                received(FORM, over=FORM | empty),
                "Valid with the empty fields that Twilio sends: a proxy removes them; ",
                None,
            )
            for empty in ({"ErrorCode": ""}, {"ErrorCode": "", "MessagingServiceSid": ""})
        ),
        (
            received(FORM, token=FORMER),
            "Valid with the former token: set TWILIO_AUTH_TOKEN_SECONDARY to it until Twilio "
            "stops signing with it.",
            "TWILIO_AUTH_TOKEN_SECONDARY",
        ),
        (
            received(FORM, token=SECONDARY, signed=f"http://sms.example.org{PATH}"),
            "Valid with the secondary token, for http://sms.example.org, but",
            "PUBLIC_BASE_URL",
        ),
        (
            received(OF_SUB, token=SUBTOKEN, signed=f"{BASE_URL}{PATH}/"),
            "Valid with a slash at the end of the path: ",
            None,
        ),
        (
            received(OF_SUB),
            "Valid with TWILIO_AUTH_TOKEN: remove this account from TWILIO_SUBACCOUNT_TOKENS.",
            "TWILIO_SUBACCOUNT_TOKENS",
        ),
        (
            received(OF_SUB, token="c" * 32),
            "No token of yours fits at any address tried: another token, another address "
            "of this app, another account, or not from Twilio. If callbacks are missing, compare "
            "TWILIO_SUBACCOUNT_TOKENS, and the callback URL at Twilio with PUBLIC_BASE_URL.",
            "TWILIO_SUBACCOUNT_TOKENS",
        ),
        (
            received(FORM, token="c" * 32),
            "No token of yours fits at any address tried: another token, another address "
            "of this app, another account, or not from Twilio. If callbacks are missing, compare "
            "TWILIO_AUTH_TOKEN, and the callback URL at Twilio with PUBLIC_BASE_URL.",
            "TWILIO_AUTH_TOKEN",
        ),
        (
            received(FORM | {"AccountSid": STRANGER}, token="c" * 32),
            f"It names account {STRANGER}, which is not TWILIO_ACCOUNT_SID: if it is your "
            "subaccount, add its token to TWILIO_SUBACCOUNT_TOKENS.",
            "TWILIO_SUBACCOUNT_TOKENS",
        ),
        (
            received(FORM | {"AccountSid": "\x1b[31mAC"}, token="c" * 32),
            "No token of yours fits at any address tried: another token, another address "
            "of this app, another account, or not from Twilio.",
            None,
        ),
        (
            received(FORM, signature=None),
            "It has no signature: it is not from Twilio, or a proxy drops the header "
            "X-Twilio-Signature.",
            None,
        ),
        (
            received(FORM, body_length=20_000),
            "It is larger than what is kept (16 KB of the body, 2 KB of the address), so it can be "
            "neither explained nor replayed.",
            None,
        ),
        (
            received(FORM, reason=Refusal.NOT_A_FORM, signature="x"),
            "It is not a form: another program posts here, or a proxy changes the header "
            "Content-Type.",
            None,
        ),
        (
            received(FORM, reason=Refusal.TOO_LARGE, body=b"", body_length=200_000),
            "It is larger than any callback from Twilio; its body was not kept.",
            None,
        ),
        (
            received({"AccountSid": ACCOUNT_SID}, reason=Refusal.UNREADABLE),
            "Twilio signed it, but its message SID or status is missing or unreadable: "
            "another webhook at Twilio, "
            "not a status callback, has this app's address.",
            None,
        ),
        (
            received({"AccountSid": ACCOUNT_SID, "Nonce": "n"}, reason=Refusal.UNREADABLE),
            "It is a test request of flask doctor: there is nothing to replay.",
            None,
        ),
        (
            received(FORM, "/webhooks/twilio/sms", reason=Refusal.ADDRESS, signature=None),
            "It was sent to an address that is not one of this app's. They are "
            "https://sms.example.org/webhooks/twilio/status and, for one message, "
            "https://sms.example.org/webhooks/twilio/status/ID: correct it in the Twilio Console.",
            None,
        ),
        (
            received(FORM, "/webhooks/twilio/sms", reason=Refusal.ADDRESS),
            "Twilio signed it: replay it. It was sent to an address that is not one of this ",
            None,
        ),
        (received(FORM), "Valid with today's settings: replay it.", None),
        (received(FORM, token=SECONDARY), "Valid with today's settings: replay it.", None),
        (received(OF_SUB, token=SUBTOKEN), "Valid with today's settings: replay it.", None),
        (
            received(FORM, reason=Refusal.NOT_A_FORM, content_type="text/plain"),
            "Valid with today's settings: replay it.",
            None,
        ),
    ],
)
def test_refusal_is_told_by_its_sentence(
    evidence: RefusedRequest, sentence: str, setting: str | None
) -> None:
    diagnosis, about = diagnose(evidence)
    assert diagnosis.startswith(sentence)
    assert about == setting
    for secret in (PRIMARY, SECONDARY, FORMER, SUBTOKEN, sid(1), PATH, "5550006", "8675310"):
        assert secret not in diagnosis


GIVE_ANOTHER = "give that webhook another address. Its body was not kept."
MISSING = " is missing: a proxy drops it; let the proxy pass it on."


@pytest.mark.parametrize(
    ("field", "sentence"),
    [
        ("CallSid", ", but it is about a call, not a status callback of a message"),
        ("ConversationSid", ", but it is about a conversation, not a status callback"),
        ("FactorSid", ", but it comes from Twilio Verify, not a status callback"),
        ("ServiceSid", ", but it comes from another service of Twilio's, not a status callback"),
        (None, ", but it is JSON (Event Streams and others), not a status callback"),
    ],
)
def test_other_webhook_of_twilio_is_named(field: str | None, sentence: str) -> None:
    form = {"AccountSid": ACCOUNT_SID} | ({field: "x"} if field else {})
    reason = Refusal.UNREADABLE if field else Refusal.JSON
    body = {} if field else {"body": b"", "body_length": 500}
    diagnosis, _ = diagnose(received(form, reason=reason, **body))
    assert diagnosis.startswith("Twilio signed it" + sentence)
    assert diagnosis.endswith(GIVE_ANOTHER)
    assert (
        sentence
        not in diagnose(received({"AccountSid": ACCOUNT_SID}, reason=Refusal.UNREADABLE))[0]
    )


def test_header_of_a_shared_key_that_is_cut_or_missing_is_told() -> None:
    key = {"TWILIO_WEBHOOK_KEYS": f"WK1:{'k' * 32}"}
    long = "A" * 43 + "="
    cut = diagnose(
        received(FORM, signature=long, signature_settings="algorithm=HMAC_SHA256"), **key
    )[0]
    assert cut.endswith(" names no key: it is not from Twilio, or a proxy cuts it.")
    dropped = diagnose(received(FORM, signature=long), **key)[0]
    assert dropped.endswith(MISSING)
    assert MISSING not in diagnose(received(FORM), **key)[0]


def test_two_mistakes_at_once_are_told_in_one_sentence() -> None:
    signed = f"http://new.example.org:8080{PATH}/"
    evidence = received(
        FORM, f"{PATH}?a=1", signed=signed, token=FORMER, sent_host="new.example.org"
    )
    assert diagnose(evidence)[0].startswith("No token of yours fits")
    evidence = received(
        FORM, f"{PATH}?a=1", signed=signed, token=FORMER, sent_host="new.example.org:8080"
    )
    sentence, setting = diagnose(evidence)
    assert sentence == (
        "Valid with the former token, with a slash at the end of the path, without the query, "
        "for http://new.example.org:8080, but PUBLIC_BASE_URL is https://sms.example.org: "
        "set TWILIO_AUTH_TOKEN_SECONDARY to it until Twilio stops signing with it; "
        "a proxy removes it; a proxy adds it; "
        "let the proxy pass on path, query and body unchanged; "
        "correct the address at Twilio: it must begin with https."
    )
    assert setting == "PUBLIC_BASE_URL"


def test_own_token_for_an_address_that_is_not_known_is_not_denied() -> None:
    host = "127.0.0.1:8000"  # a proxy with a second domain does not pass it on
    evidence = received(FORM, signed=f"https://second.example.org{PATH}", sent_host=host)
    sentence, setting = diagnose(evidence)
    assert "another token, another address of this app, another account, or not" in sentence
    assert split_long(sentence) == (sentence, "")
    assert sentence.endswith("and the callback URL at Twilio with PUBLIC_BASE_URL.")
    assert setting == "TWILIO_AUTH_TOKEN"


def test_loopback_address_may_be_set_with_http() -> None:
    evidence = received(FORM, signed=f"http://127.0.0.1:8000{PATH}", sent_host="127.0.0.1:8000")
    assert "set PUBLIC_BASE_URL to http://127.0.0.1:8000" in diagnose(evidence)[0]


def test_default_port_is_no_mistake() -> None:
    signed = f"{BASE_URL}:443{PATH}/"
    assert diagnose(received(FORM, signed=signed))[0].startswith("Valid with a slash at the end")


def test_port_that_is_configured_but_not_signed_is_told() -> None:
    evidence = received(FORM, signed=f"http://sms.example.org{PATH}")
    sentence, _ = diagnose(evidence, PUBLIC_BASE_URL="https://sms.example.org:8443")
    assert sentence.startswith("Valid for http://sms.example.org, but PUBLIC_BASE_URL is https://")


@pytest.mark.parametrize(
    "host", ["", "::::", "[::1", "a b", "[::1]:8000", "x" * 255, "\x1b[0m", "a:99999999", "ü"]
)
def test_strange_hosts_are_no_explanation_and_no_error(host: str) -> None:
    evidence = received(FORM, token="c" * 32, sent_host=host, forwarded_host=host)
    assert diagnose(evidence)[0].startswith("No token of yours fits")


def test_thousands_of_fields_are_explained_in_a_moment() -> None:
    form = {f"{n:x}": "" for n in range(3000)}
    started_at = time.process_time()
    diagnose(received(form, f"{PATH}?a=1", token="c" * 32, sent_host="a:1", forwarded_host="b:2"))
    assert time.process_time() - started_at < 2


def test_path_of_many_slashes_has_few_variants() -> None:
    """Each slash that may have been merged multiplies what the rest of the request can be."""
    request = received({"a": " ", "b": ""}, "/a" * 900 + "?a=+%2f~'&b=%20&c=/&d=*&e=%7e")
    combinations = [*signature_variants._paths(request.target)]
    assert len(combinations) <= signature_variants.MAX_MERGED_SLASHES + 3


def test_form_that_is_made_to_cost_has_its_simplest_variants_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hashed: list[int] = []
    sign = Secret.sign

    def counted(secret: Secret, text: str) -> str:
        hashed.append(len(text))
        return sign(secret, text)

    monkeypatch.setattr(Secret, "sign", counted)
    path = f"{PATH}?a=+%2f&b=~'&c=%20&d=/&e=+" + "/~'+" * 400
    form = {"a": " x", "b": "", "c": "y" * 15_000}
    evidence = received(form, path, token="c" * 32, sent_host="a:1", forwarded_host="b:2")
    assert diagnose(evidence)[0].startswith("No token of yours fits")
    assert sum(hashed) < 1.1 * MAX_HASHED_CHARACTERS
    evidence = received(form, path, signed=f"{BASE_URL}{path.replace('?', '/?')}")
    assert diagnose(evidence)[0].startswith("Valid with a slash")
