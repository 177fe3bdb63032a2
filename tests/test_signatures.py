"""Who signed a callback, against vectors made without our signing code or that of the client."""

import base64
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from twilio.request_validator import RequestValidator
from werkzeug.datastructures import MultiDict

from smstracker.carrier.signatures import SHARED_KEY, SIGNATURE_SETTINGS, Signatures, Signer
from tests.live_settings import settings
from tests.signing import (
    ACCOUNT_SID,
    BASE_URL,
    KEY_HEADER,
    PRIMARY,
    SECONDARY,
    STATUS_PATH,
    WEBHOOK_KEY,
    fields,
    sid,
    spec_signature,
)

KEY, SECRET = WEBHOOK_KEY
OTHER_KEY, OTHER_SECRET = "k2", "another-key"
SUBACCOUNT, SUBTOKEN, FORMER = "AC" + "5" * 32, "b" * 32, "c" * 32
URL = BASE_URL + STATUS_PATH
FORM = MultiDict(fields(sid(1), "sent"))
SIGNATURES = Signatures(
    settings(
        TWILIO_WEBHOOK_KEYS=f"{KEY}:{SECRET}, {OTHER_KEY}:{OTHER_SECRET}",
        TWILIO_SUBACCOUNT_TOKENS=f"{SUBACCOUNT}:{SUBTOKEN}",
        TWILIO_AUTH_TOKEN_FORMER=FORMER,
    )
)
ONCE = hypothesis_settings(max_examples=200, deadline=None, database=None)


def signer(
    signature: str, settings_header: str | None = None, form: MultiDict[str, str] = FORM
) -> Signer | None:
    return SIGNATURES.identify_signer(URL, form, signature, settings_header)


def by_key(form: MultiDict[str, str] = FORM, secret: str = SECRET) -> str:
    return spec_signature(secret, URL, form.items(), "sha256")


def test_documented_vector_verifies() -> None:
    form = {"CallSid": "CA1234567890ABCDE", "Caller": "+14158675310", "Digits": "1234"}
    form |= {"From": "+14158675310", "To": "+18005551212"}
    url = "https://example.com/myapp.php?foo=1&bar=2"
    assert spec_signature("12345", url, form.items()) == "L/OH5YylLD5NRKLltdqwSvS0BnU="
    documented = replace(settings(), twilio_auth_token="12345")
    verified = Signatures(documented).identify_signer(
        url, MultiDict(form), "L/OH5YylLD5NRKLltdqwSvS0BnU="
    )
    assert verified == Signer(ACCOUNT_SID, "primary")


def test_shared_key_and_auth_token_verify_side_by_side() -> None:
    assert signer(by_key(), KEY_HEADER) == Signer(ACCOUNT_SID, SHARED_KEY)
    other = by_key(secret=OTHER_SECRET)
    named = f"algorithm=HMAC_SHA256 , key={OTHER_KEY}"
    assert signer(other, named) == Signer(ACCOUNT_SID, SHARED_KEY)
    assert signer(spec_signature(PRIMARY, URL, FORM.items())) == Signer(ACCOUNT_SID, "primary")
    assert signer(spec_signature(SECONDARY, URL, FORM.items())) == Signer(ACCOUNT_SID, "secondary")


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        f"key={KEY}",
        f"key={KEY},algorithm=",
        f"key={KEY},algorithm=HMAC_SHA1",
        f"key={KEY},algorithm=HMAC_SHA512",
        f"key={KEY},algorithm=none",
        "algorithm=HMAC_SHA256",
        "key=,algorithm=HMAC_SHA256",
        "key=unknown,algorithm=HMAC_SHA256",
        f"key={OTHER_KEY},algorithm=HMAC_SHA256",
        f"key={KEY},key={OTHER_KEY},algorithm=HMAC_SHA256",
        f"key={KEY},algorithm=HMAC_SHA1,algorithm=HMAC_SHA256",
        f"key={KEY};algorithm=HMAC_SHA256",
        "primary",
    ],
)
def test_signature_of_a_key_verifies_only_with_its_own_header(header: str | None) -> None:
    assert signer(by_key(), header) is None


@pytest.mark.parametrize(
    "header",
    [KEY_HEADER, f"key={KEY},algorithm=HMAC_SHA1", "algorithm=HMAC_SHA1", "key=primary", "x"],
)
def test_auth_token_does_not_verify_where_a_header_names_a_key(header: str) -> None:
    assert signer(spec_signature(PRIMARY, URL, FORM.items()), header) is None


@pytest.mark.parametrize("secret", [PRIMARY, SECONDARY, SUBTOKEN])
def test_auth_token_never_signs_by_sha256_nor_a_key_by_sha1(secret: str) -> None:
    assert signer(by_key(secret=secret), KEY_HEADER) is None
    assert signer(by_key(secret=secret)) is None
    assert signer(spec_signature(SECRET, URL, FORM.items())) is None
    assert signer(spec_signature(SECRET, URL, FORM.items()), KEY_HEADER) is None


@pytest.mark.parametrize("account", [SUBACCOUNT, "AC" + "9" * 32, "", None])
def test_shared_key_vouches_for_our_own_account_alone(account: str | None) -> None:
    form = MultiDict({name: value for name, value in FORM.items() if name != "AccountSid"})
    if account is not None:
        form["AccountSid"] = account
    assert signer(by_key(form), KEY_HEADER, form) is None


HEADERS = st.one_of(
    st.none(),
    st.text(max_size=80),
    st.builds(
        "{}={}{}{}={}".format,
        st.sampled_from(["key", "Key", "algorithm", "k"]),
        st.sampled_from([KEY, OTHER_KEY, "primary", "", "x"]),
        st.sampled_from([",", ";", ", ", ",,"]),
        st.sampled_from(["algorithm", "Algorithm", "key"]),
        st.sampled_from(["HMAC_SHA256", "HMAC_SHA1", "hmac_sha256", "none", "", "NULL", KEY]),
    ),
)
WRONG = st.one_of(
    st.text(max_size=50),
    st.binary(min_size=20, max_size=20).map(lambda raw: base64.b64encode(raw).decode()),
    st.binary(min_size=32, max_size=32).map(lambda raw: base64.b64encode(raw).decode()),
    st.sampled_from(
        [
            spec_signature(secret, URL, FORM.items(), algorithm)
            for secret in ("", KEY, ACCOUNT_SID, "HMAC_SHA256", "f" * 32, SUBTOKEN)
            for algorithm in ("sha1", "sha256")
        ]
    ),
)


@ONCE
@given(WRONG, HEADERS)
def test_no_header_makes_a_wrong_signature_right(signature: str, header: str | None) -> None:
    assert signer(signature, header) is None


@ONCE
@given(HEADERS)
def test_a_right_signature_verifies_under_its_own_header_or_not_at_all(header: str | None) -> None:
    expected = Signer(ACCOUNT_SID, "primary")
    assert signer(spec_signature(PRIMARY, URL, FORM.items()), header) in (
        (expected,) if not (header or "").strip() else (None,)
    )
    names = {part.strip() for part in (header or "").split(",")}
    is_its_own = {f"key={KEY}", "algorithm=HMAC_SHA256"} <= names
    assert bool(signer(by_key(), header)) == is_its_own


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
PAIRS = st.lists(st.tuples(TEXT.filter(bool), TEXT), max_size=8)
# The validator drops a ; at the end of a path, which the documented algorithm does not.
PATHS = st.text(
    st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="?#[];"), max_size=20
)


@ONCE
@given(
    pairs=PAIRS,
    base=st.sampled_from(
        [
            "https://a.example",
            "https://a.example:443",
            "https://a.example:8443",
            "http://a.example",
            "http://127.0.0.1:8000",
            "http://localhost:80",
        ]
    ),
    path=PATHS,
    query=PATHS,
    spelling=st.sampled_from(["", ":443", ":80", ":8443", None]),
    token=st.sampled_from([PRIMARY, SECONDARY, "f" * 32]),
)
def test_verdict_is_that_of_the_request_validator(
    pairs: list[tuple[str, str]], base: str, path: str, query: str, spelling: str | None, token: str
) -> None:
    form = MultiDict([(n, v) for n, v in pairs if n != "AccountSid"])
    url = f"{base}/{path}" + (f"?{query}" if query else "")
    host = base if spelling is None else base.rpartition(":")[0] if base.count(":") > 1 else base
    signed = (host + (spelling or "")) + url.removeprefix(base)
    signature = RequestValidator(token).compute_signature(signed, form)
    oracle = any(
        RequestValidator(secret).validate(url, form, signature) for secret in (PRIMARY, SECONDARY)
    )
    assert (SIGNATURES.identify_signer(url, form, signature) is not None) == oracle


@pytest.mark.parametrize("asked", ["", "?"])
@pytest.mark.parametrize("signed", ["", "?"])
@pytest.mark.parametrize("port", ["", ":443"])
def test_lone_question_mark_and_default_port_are_no_difference(
    asked: str, signed: str, port: str
) -> None:
    signature = spec_signature(PRIMARY, f"{BASE_URL}{port}{STATUS_PATH}{signed}", FORM.items())
    assert SIGNATURES.identify_signer(URL + asked, FORM, signature) is not None


@pytest.mark.parametrize(
    "signed",
    [
        f"http://sms.example.org{STATUS_PATH}",
        f"https://other.example.org{STATUS_PATH}",
        f"https://sms.example.org:8443{STATUS_PATH}",
        f"https://SMS.example.org{STATUS_PATH}",
        f"{URL}/",
        f"{URL}??",
        f"{URL}?a",
        f"{URL}#",
    ],
)
def test_another_address_is_a_difference(signed: str) -> None:
    assert signer(spec_signature(PRIMARY, signed, FORM.items())) is None


def test_ipv6_address_with_a_port_verifies() -> None:
    url = "http://[::1]:8000/webhooks/twilio/status"
    signature = spec_signature(PRIMARY, url, FORM.items())
    assert SIGNATURES.identify_signer(url, FORM, signature) is not None


@pytest.mark.parametrize(
    ("secret", "account", "header", "is_signed"),
    [
        (PRIMARY, ACCOUNT_SID, None, True),
        (SECONDARY, ACCOUNT_SID, None, True),
        (SECONDARY, "", None, True),
        (SUBTOKEN, SUBACCOUNT, None, True),
        (SUBTOKEN, ACCOUNT_SID, None, False),
        (PRIMARY, SUBACCOUNT, None, False),
        (FORMER, ACCOUNT_SID, None, False),
        (SECRET, ACCOUNT_SID, KEY_HEADER, True),
        (OTHER_SECRET, ACCOUNT_SID, KEY_HEADER, False),
        (PRIMARY, ACCOUNT_SID, KEY_HEADER, False),
    ],
)
def test_address_alone_is_signed_by_the_secrets_of_its_account(
    secret: str, account: str, header: str | None, is_signed: bool
) -> None:
    signature = spec_signature(secret, URL, [], "sha256" if header else "sha1")
    assert SIGNATURES.signs_address(URL, account, signature, header) == is_signed


def test_header_of_our_own_signature_is_the_documented_one() -> None:
    headers = SIGNATURES.sign_headers(URL, dict(FORM), KEY)
    assert headers == {"X-Twilio-Signature": by_key(), SIGNATURE_SETTINGS: KEY_HEADER}
