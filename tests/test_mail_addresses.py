"""Mail addresses have one spelling each, and what is none gets a reason."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smstracker.settings.mail_addresses import (
    MailAddressError,
    half_width,
    normalize_domain,
    normalize_email,
    refuse_pattern,
)
from smstracker.sms.typed_text import is_invisible


@pytest.mark.parametrize(
    ("typed", "spelling"),
    [
        ("Alice@Example.ORG", "alice@example.org"),
        (" alice@example.org\t", "alice@example.org"),
        ("\u200b\ufeffalice@example.org\u200e", "alice@example.org"),
        ("user@bücher.example", "user@xn--bcher-kva.example"),
        ("user@bu\u0308cher.example", "user@xn--bcher-kva.example"),
        ("user@BÜCHER.example", "user@xn--bcher-kva.example"),
        ("user@xn--BCHER-kva.example", "user@xn--bcher-kva.example"),
        ("user@straße.example", "user@xn--strae-oqa.example"),
        ("user@strasse.example", "user@strasse.example"),
        ("user@βόλος.example", "user@xn--nxasmm1c.example"),
        ("user@例え。テスト", "user@xn--r8jz45g.xn--zckzah"),
        ("user@Clinic.local", "user@clinic.local"),
        ("user@bücher.local", "user@xn--bcher-kva.local"),
        ("user@home.arpa", "user@home.arpa"),
        ("user@mail.home.arpa", "user@mail.home.arpa"),
        ("user@clinic.internal", "user@clinic.internal"),
        ("user@nas.lan", "user@nas.lan"),
        ("user@clinic.corp", "user@clinic.corp"),
        ("user@localhost", "user@localhost"),
        ("first.last+tag@a-b.example", "first.last+tag@a-b.example"),
        ("taro＠example.org", "taro@example.org"),
        ("Ｔａｒｏ．１＠ｅｘａｍｐｌｅ．ｏｒｇ\u3000", "taro.1@example.org"),
        ("a" * 64 + "@example.org", "a" * 64 + "@example.org"),
    ],
)
def test_address_has_one_spelling(typed: str, spelling: str) -> None:
    assert normalize_email(typed) == spelling
    assert normalize_email(spelling) == spelling


@pytest.mark.parametrize(
    ("typed", "reason"),
    [
        ("nonsense", "does not look like"),
        ("", "does not look like"),
        ("@example.org", "does not look like"),
        ("a@b@c.example", "does not look like"),
        ("a b@example.org", "does not look like"),
        ("a@example.org\nBcc: x@y.z", "does not look like"),
        ("a\0@example.org", "does not look like"),
        ("\u212aim@example.org", "Before the @"),
        ("\u0131@example.org", "Before the @"),
        ("müller@example.org", "Before the @"),
        ("a\u200b@example.org", "invisible"),
        ("a@exam\u00adple.org", "invisible"),
        ("\u202ea@example.org\u202cb", "invisible"),
        ('"a b"@example.org', "quotation marks"),
        ("Alice <alice@example.org>", "angle brackets"),
        ("a@[127.0.0.1]", "brackets"),
        ("a@[IPv6:::1]", "brackets"),
        ("a@127.0.0.1", "not the name of a mail domain"),
        ("a@example.org.", "ends with a dot"),
        ("a@example..org", "not the name of a mail domain"),
        ("a@-x.example", "not the name of a mail domain"),
        ("a@a_b.example", "not the name of a mail domain"),
        ("a@💩.example", "not the name of a mail domain"),
        ("a@xn--a.example", "not the name of a mail domain"),
        ("a@1אב.example", "not the name of a mail domain"),
        ("a@b", "“b” has no dot. Type the whole domain"),
        ("anna@Gmail", "“gmail” has no dot"),
        ("a@xn--bcher-kva", "“bücher” has no dot"),
        ("a@localhost2", "has no dot"),
        ("a@clinic.invalid", "reserved"),
        ("a@ｉnvalid", "reserved"),
        ("a@clinic.onion", "reserved"),
        ("a@1.168.192.in-addr.arpa", "reserved"),
        ("a@welcome-home.arpa", "reserved"),
        ("a@nohome.arpa", "reserved"),
        ("a\u180b@example.org", "invisible"),
        ("太郎＠example.org", "Before the @, only"),
        ("taro。yamada@example.org", "Before the @, only"),
        ("a＠b＠c.example", "does not look like"),
        ("＜a@example.org＞", "angle brackets"),
        ("mailto:a@example.org", "without a name, “mailto:” or"),
        ("MAILTO：a@example.org?subject=x", "without a name, “mailto:” or"),
        ("a..b@example.org", "a dot cannot be first or last or follow another dot"),
        ("a.@example.org", "a dot cannot be first or last"),
        (".a@example.org", "a dot cannot be first or last"),
        ("a．．b@example.org", "follow another dot"),
        ("a@example.org,", "ends with a comma. Leave it out"),
        ("a@example.org，", "ends with a comma"),
        ("a@example.org、", "ends with a comma"),
        ("a@example.org；", "ends with a semicolon"),
        ("a@example.org。", "ends with a dot"),
        ("a" * 65 + "@example.org", "at most 64 characters"),
        ("ａ" * 65 + "@example.org", "at most 64 characters"),
        ("a@" + "b" * 300 + ".example", "too long"),
    ],
)
def test_what_is_no_address_gets_a_reason(typed: str, reason: str) -> None:
    with pytest.raises(MailAddressError, match=reason):
        normalize_email(typed)


def test_pattern_in_full_width_signs_is_refused() -> None:
    for pattern in ("＊＠example.org", "a@＊.example.org"):
        with pytest.raises(MailAddressError, match="is a pattern"):
            refuse_pattern(pattern)


def test_domain_of_a_setting_is_spelled_as_that_of_an_address() -> None:
    assert normalize_domain("Straße.example") == "xn--strae-oqa.example"
    for typed in ("*.example.org", "clinic"):
        with pytest.raises(MailAddressError):
            normalize_domain(typed)


@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=20), st.sampled_from("ßıſKςüxX"))
def test_spelling_is_ascii_and_stays_as_it_is(text: str, letter: str) -> None:
    for typed in (f"{text}{letter}@example.org", f"a@{text}{letter}.example"):
        try:
            spelling = normalize_email(typed)
        except MailAddressError:
            continue
        assert spelling.isascii()
        visible = "".join(letter for letter in typed if not is_invisible(letter))
        assert normalize_email(spelling) == spelling
        local = half_width(visible).strip().partition("@")[0]
        assert spelling.partition("@")[0] == local.lower()
