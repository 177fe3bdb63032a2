"""Sign-in by e-mail: over real SMTP, with a link and a code."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import time_machine
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func, select

from smstracker.auth.browser_name import name_browser
from smstracker.clock import utcnow
from smstracker.extensions import db
from smstracker.models import SignInToken, User, UserSession
from tests.clients import Person, hidden, words
from tests.serving import drain_mail
from tests.smtp_server import Inbox

ALICE = "alice@example.org"
ID = "00000000-0000-0000-0000-000000000001"


@pytest.fixture
def app(make_app: Callable[..., Flask], inbox: Inbox) -> Flask:
    return make_app(MAIL_SERVER="127.0.0.1", MAIL_PORT=str(inbox.controller.port))


@pytest.fixture
def visitor(app: Flask) -> Person:
    """Alice at a browser that is not signed in."""
    return Person(app, ALICE)


def ask(person: Person, email: str = ALICE, **form: str):  # type: ignore[no-untyped-def]
    answer = person.post("/auth/sign-in", {"email": email, **form})
    drain_mail(person.app)
    return answer


def is_signed_in(person: Person) -> bool:
    return person.get("/messages").status_code == 200


def enter(person: Person, code: str):  # type: ignore[no-untyped-def]
    return person.post("/auth/code", {"code": code}, page="/auth/sign-in?step=code")


def test_mail_has_link_and_code_and_says_from_where(visitor: Person, inbox: Inbox) -> None:
    answer = ask(visitor)
    assert (answer.status_code, answer.location) == (303, "/auth/sign-in?step=code")
    assert inbox.mails[0][0] == ALICE
    assert inbox.link
    assert inbox.code
    assert "127.0.0.1" in inbox.newest


def test_next_page_shows_the_address_that_was_typed_to_anybody(
    make_app: Callable[..., Flask], inbox: Inbox
) -> None:
    port = str(inbox.controller.port)
    app = make_app(MAIL_SERVER="127.0.0.1", MAIL_PORT=port, SIGN_IN_ALLOW="alice@example.org")
    pages = []
    for typed in ("alice@example.org", "alize@example.org"):
        person = Person(app, typed)
        answer = ask(person, f" {typed} ")
        assert answer.location == "/auth/sign-in?step=code"
        page = words(person.get(answer.location).text)
        assert f"If {typed} may sign in, a mail" in page
        pages.append(page.replace(typed, "…"))
        again = words(enter(person, "12").text)
        assert f"If {typed} may sign in" in again, "after a wrong code too"
    assert pages[0] == pages[1], "nobody learns who may sign in"
    assert [to for to, _ in inbox.mails] == ["alice@example.org"]


def test_typed_address_is_escaped(visitor: Person) -> None:
    answer = ask(visitor, "a&b@example.org")
    page = visitor.get(answer.location).text
    assert '<bdi class="typed">a&amp;b@example.org</bdi>' in page
    assert "a&b" not in page


def test_mail_goes_to_the_address_that_will_be_signed_in(visitor: Person, inbox: Inbox) -> None:
    ask(visitor, "Alice@Example.ORG")
    assert inbox.mails[0][0] == ALICE


def test_link_signs_in_after_its_button(visitor: Person, inbox: Inbox) -> None:
    ask(visitor)
    assert visitor.get(inbox.link).status_code == 200
    assert not is_signed_in(visitor)
    answer = visitor.post(inbox.link)
    assert (answer.status_code, answer.location) == (303, "/messages")
    assert is_signed_in(visitor)


def test_link_with_a_slash_that_a_mail_program_added_works_alike(
    visitor: Person, inbox: Inbox
) -> None:
    ask(visitor)
    form = re.search(r'<form method="post" action="([^"]+)"', visitor.get(f"{inbox.link}/").text)
    assert form
    assert form[1] == inbox.link
    assert visitor.get("/auth/link/dead/").status_code == 410


def test_link_works_in_another_browser(app: Flask, visitor: Person, inbox: Inbox) -> None:
    ask(visitor)
    phone = Person(app, ALICE)
    phone.post(inbox.link)
    assert is_signed_in(phone)
    assert not is_signed_in(visitor)


@pytest.mark.parametrize("method", ["get", "head", "options"])
def test_opening_the_link_never_spends_it(visitor: Person, inbox: Inbox, method: str) -> None:
    ask(visitor)
    for _ in range(3):
        getattr(visitor.client, method)(inbox.link)
    visitor.post(inbox.link)
    assert is_signed_in(visitor)


def test_link_works_once(app: Flask, visitor: Person, inbox: Inbox) -> None:
    ask(visitor)
    visitor.post(inbox.link)
    other = Person(app, ALICE)
    assert other.post(inbox.link).status_code == 410
    assert not is_signed_in(other)


def test_link_that_is_dead_says_so_before_it_is_pressed(visitor: Person, inbox: Inbox) -> None:
    made_up = visitor.get("/auth/link/made-up")
    assert made_up.status_code == 410
    assert "This link no longer works" in made_up.text
    assert "One press" not in made_up.text
    ask(visitor)
    link = inbox.link
    assert visitor.get(link).status_code == 200
    assert visitor.post(link).status_code == 303
    assert visitor.get(link).status_code == 410


@pytest.mark.both_databases
def test_link_works_once_even_under_sixteen_parallel_tries(
    app: Flask, visitor: Person, inbox: Inbox
) -> None:
    ask(visitor)
    people = [Person(app, ALICE) for _ in range(16)]
    forms = [{"csrf_token": hidden(p.get(inbox.link).text, "csrf_token")} for p in people]
    with ThreadPoolExecutor(16) as threads:
        tries = zip(people, forms, strict=True)
        answers = threads.map(lambda t: t[0].client.post(inbox.link, data=t[1]), tries)
        codes = sorted(answer.status_code for answer in answers)
    assert codes == [303] + [410] * 15
    assert sum(is_signed_in(person) for person in people) == 1


@pytest.mark.both_databases
def test_code_works_once_even_under_parallel_tries(visitor: Person, inbox: Inbox) -> None:
    ask(visitor)
    page = visitor.get("/auth/sign-in?step=code").text
    form = {"csrf_token": hidden(page, "csrf_token"), "code": inbox.code}
    cookie = visitor.client.get_cookie("__Host-session", domain="sms.example.org")
    browsers = [visitor.app.test_client() for _ in range(5)]
    for browser in browsers:
        browser.set_cookie("__Host-session", cookie.value, domain="sms.example.org", secure=True)  # type: ignore[union-attr]
    with ThreadPoolExecutor(5) as threads:
        answers = threads.map(lambda b: b.post("/auth/code", data=form), browsers)
        assert sorted(answer.status_code for answer in answers) == [303, 422, 422, 422, 422]


def test_code_signs_in_the_browser_that_asked(visitor: Person, inbox: Inbox) -> None:
    ask(visitor)
    spaced = f" {inbox.code[:3]} {inbox.code[3:]} "
    assert enter(visitor, spaced).status_code == 303
    assert is_signed_in(visitor)


@pytest.mark.parametrize("zero", ["0", "０", "٠", "۰", "०"])
def test_code_may_be_typed_in_digits_of_any_script(
    visitor: Person, inbox: Inbox, zero: str
) -> None:
    ask(visitor)
    code = "".join(chr(ord(zero) + int(digit)) for digit in inbox.code)
    assert enter(visitor, code).status_code == 303


@pytest.mark.parametrize(
    "spelling",
    [
        "{}-{}",
        "{}–{}",
        "{}−{}",
        "{}.{}",
        "{}{}.",
        "{}\u200b{}",
        "\ufeff{}\u00a0{}\u200f",
        "*{}{}*",
        "`{}{}`",
    ],
)
def test_code_may_have_separators_and_invisible_characters(
    visitor: Person, inbox: Inbox, spelling: str
) -> None:
    ask(visitor)
    assert enter(visitor, spelling.format(inbox.code[:3], inbox.code[3:])).status_code == 303


@pytest.mark.parametrize(
    ("typed", "reason"),
    [
        ("96925٠", "several scripts"),
        ("9692507", "six digits"),
        ("a969250", "six digits"),
        ("96925O", "six digits"),
        ("96925²", "six digits"),
        ("\u200b", "six digits"),
    ],
)
def test_what_is_no_code_is_said_so(visitor: Person, inbox: Inbox, typed: str, reason: str) -> None:
    ask(visitor)
    answer = enter(visitor, typed)
    assert (answer.status_code, reason in answer.text) == (422, True)


def test_code_is_good_for_nothing_in_another_browser(
    app: Flask, visitor: Person, inbox: Inbox
) -> None:
    ask(visitor)
    code = inbox.code
    stranger = Person(app, ALICE)
    ask(stranger, "nobody@elsewhere.example")
    assert enter(stranger, code).status_code == 422
    assert not is_signed_in(stranger)


def test_code_has_five_tries(visitor: Person, inbox: Inbox) -> None:
    ask(visitor)
    wrong = f"{(int(inbox.code) + 1) % 10**6:06}"
    said = [enter(visitor, wrong).text for _ in range(5)]
    assert "4 tries left" in said[0]
    assert "1 try left" in said[3]
    assert "last try" in said[4]
    assert enter(visitor, inbox.code).status_code == 422
    assert not is_signed_in(visitor)
    visitor.post(inbox.link)
    assert is_signed_in(visitor)


def test_code_without_six_digits_costs_no_try(visitor: Person, inbox: Inbox) -> None:
    ask(visitor)
    for _ in range(6):
        assert "six digits" in enter(visitor, "12345").text
    assert enter(visitor, inbox.code).status_code == 303


def test_code_without_having_asked_leads_to_sign_in(visitor: Person) -> None:
    answer = visitor.post("/auth/code", {"code": "123456"}, page="/auth/sign-in")
    assert answer.location == "/auth/sign-in"
    with time_machine.travel(utcnow(), tick=False):  # a token of the form holds the second
        assert visitor.get("/auth/sign-in?step=code").text == visitor.get("/auth/sign-in").text


@pytest.mark.parametrize(("minutes", "works"), [(14, True), (16, False)])
def test_link_and_code_last_fifteen_minutes(
    visitor: Person, inbox: Inbox, minutes: int, works: bool
) -> None:
    ask(visitor)
    with time_machine.travel(utcnow() + timedelta(minutes=minutes)):
        assert enter(visitor, inbox.code).status_code == (303 if works else 422)
        if not works:
            assert visitor.post(inbox.link).status_code == 410
        assert is_signed_in(visitor) is works


def test_older_mail_still_signs_in_after_a_stranger_asked_for_newer_ones(
    app: Flask, visitor: Person, inbox: Inbox
) -> None:
    ask(visitor)
    link, code = inbox.link, inbox.code
    stranger = Person(app, ALICE)
    for _ in range(4):
        ask(stranger)
    assert len(inbox.mails) == 5
    assert enter(visitor, code).status_code == 303
    assert Person(app, ALICE).post(link).status_code == 410  # it was the same mail


def test_code_of_an_older_mail_is_refused_in_the_browser_that_asked_anew(
    visitor: Person, inbox: Inbox
) -> None:
    ask(visitor)
    older = inbox.code
    ask(visitor)
    if older != inbox.code:
        assert "not the code from the newest mail" in enter(visitor, older).text
    assert enter(visitor, inbox.code).status_code == 303


def test_unknown_address_gets_the_same_answer_and_no_mail(
    visitor: Person, inbox: Inbox, app: Flask
) -> None:
    unknown = Person(app, "mallory@elsewhere.example")
    answers = [ask(visitor), ask(unknown, unknown.email)]
    assert answers[0].status_code == answers[1].status_code
    assert answers[0].location == answers[1].location

    def masked(person: Person, page: str) -> str:
        return re.sub(r'value="[^"]*"', "", page).replace(person.email, "")

    pages = [masked(one, one.get("/auth/sign-in?step=code").text) for one in (visitor, unknown)]
    assert pages[0] == pages[1]
    wrong = [masked(one, enter(one, "000000").text) for one in (visitor, unknown)]
    assert wrong[0] == wrong[1]
    assert [to for to, _ in inbox.mails] == [ALICE]


def test_mail_is_sent_off_the_request_so_that_time_tells_nothing(
    visitor: Person, app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads, tasks = app.extensions["mailer"].threads, []
    monkeypatch.setattr(threads, "look_up", lambda task: tasks.append(task) or True)
    for email in (ALICE, "mallory@elsewhere.example"):
        assert visitor.post("/auth/sign-in", {"email": email}).status_code == 303
    assert len(tasks) == 2


@pytest.mark.parametrize("email", ["", "nonsense", "a@b@c", "a@example.org\nBcc: x@y.z"])
def test_what_is_no_address_is_said_so(visitor: Person, inbox: Inbox, email: str) -> None:
    assert ask(visitor, email).status_code == 422
    assert inbox.mails == []


def test_sixth_mail_in_an_hour_waits(visitor: Person, inbox: Inbox) -> None:
    with time_machine.travel(utcnow(), tick=False) as clock:
        spellings = [ALICE, ALICE.upper(), f" {ALICE} ", ALICE, ALICE]
        assert {ask(visitor, spelling).status_code for spelling in spellings} == {303}
        clock.shift(timedelta(minutes=20))
        answer = ask(visitor)
        assert answer.status_code == 429
        assert "41 minutes" in answer.text
        assert 2395 <= int(answer.headers["Retry-After"]) <= 2401
        assert len(inbox.mails) == 5
        clock.shift(timedelta(minutes=41))
        assert ask(visitor).status_code == 303


def test_limit_is_the_same_for_addresses_that_may_not_sign_in(visitor: Person) -> None:
    codes = [ask(visitor, "mallory@elsewhere.example").status_code for _ in range(6)]
    assert codes == [303] * 5 + [429]


def test_twenty_first_post_of_a_client_waits(app: Flask) -> None:
    browser = Person(app, ALICE)
    codes = [ask(browser, f"user{n}@elsewhere.example").status_code for n in range(21)]
    assert codes == [303] * 20 + [429]


def test_trusted_proxy_names_the_client(make_app: Callable[..., Flask]) -> None:
    app = make_app(TRUSTED_PROXIES="1")
    statuses = []
    for n in range(21):
        browser = Person(app, ALICE)
        page = browser.get("/auth/sign-in").text
        form = {"csrf_token": hidden(page, "csrf_token"), "email": f"u{n}@elsewhere.example"}
        headers = {"X-Forwarded-For": f"198.51.100.{n}"}
        statuses.append(browser.client.post("/auth/sign-in", data=form, headers=headers))
    assert {answer.status_code for answer in statuses} == {303}


@pytest.mark.parametrize(
    ("wanted", "led_to"),
    [
        ("/messages/new", "/messages/new"),
        ("/messages?state=waiting", "/messages?state=waiting"),
        ("/insights?period=7d", "/insights?period=7d"),
        ("/help/errors", "/help/errors"),
        ("/help/errors/30003", "/help/errors/30003"),
        ("/callbacks?kind=refused", "/callbacks?kind=refused"),
        (f"/messages/{ID}/again", f"/messages/{ID}/again"),
        ("/messages.json", "/messages"),
        ("/messages/export.csv", "/messages"),
        ("/messages/stream", "/messages"),
        ("/messages/rows", "/messages"),
        ("/callbacks/replay", "/messages"),
        ("/static/app.css", "/messages"),
        ("/healthz", "/messages"),
        ("/auth/sign-in", "/messages"),
        ("/auth/mailbox", "/messages"),
        ("//evil.example/messages", "/messages"),
        ("///evil.example", "/messages"),
        ("/\\evil.example", "/messages"),
        ("/messages?text=\\evil.example", "/messages"),
        ("https://evil.example/messages", "/messages"),
        ("/auth/sign-out", "/messages"),
        ("/no/such/page", "/messages"),
        ("/messages\r\nX: y", "/messages"),
    ],
)
def test_sign_in_leads_only_to_pages_of_ours(
    visitor: Person, inbox: Inbox, wanted: str, led_to: str
) -> None:
    ask(visitor, next=wanted)
    assert visitor.post(inbox.link).location == led_to


def test_page_that_was_asked_for_is_remembered(visitor: Person, inbox: Inbox) -> None:
    answer = visitor.get("/messages/new")
    assert answer.location == "/auth/sign-in?next=%2Fmessages%2Fnew"
    assert hidden(visitor.get(answer.location).text, "next") == "/messages/new"


def test_sign_in_starts_a_session_that_nobody_prepared(visitor: Person, inbox: Inbox) -> None:
    ask(visitor)
    with visitor.client.session_transaction(base_url="https://sms.example.org") as session:
        session["planted"] = "by somebody else"
    before = visitor.client.get_cookie("__Host-session", domain="sms.example.org")
    visitor.post(inbox.link)
    after = visitor.client.get_cookie("__Host-session", domain="sms.example.org")
    with visitor.client.session_transaction(base_url="https://sms.example.org") as session:
        assert "planted" not in session
    assert before is not None
    assert after is not None
    assert before.value != after.value


def test_token_and_code_are_stored_hashed(app: Flask, visitor: Person, inbox: Inbox) -> None:
    ask(visitor)
    with app.app_context():
        row = db.session.scalars(select(SignInToken)).one()
        stored = repr({name: getattr(row, name) for name in row.__table__.columns.keys()})  # noqa: SIM118
    assert inbox.link.rpartition("/")[2] not in stored
    assert inbox.code not in stored


def test_sign_out_ends_the_session_whatever_cookie_is_kept(alice: Person) -> None:
    kept = alice.client.get_cookie("__Host-session", domain="sms.example.org")
    assert kept is not None
    assert alice.get("/auth/sign-out").status_code == 405
    answer = alice.post("/auth/sign-out", page="/messages")
    assert answer.location == "/auth/sign-in"
    alice.client.set_cookie("__Host-session", kept.value, domain="sms.example.org", secure=True)
    assert not is_signed_in(alice)


@pytest.mark.parametrize("seconds", [1, 3600])
def test_session_counts_on_a_machine_whose_clock_is_behind(app: Flask, seconds: int) -> None:
    with time_machine.travel(utcnow() + timedelta(seconds=seconds)):
        visitor = Person.signed_in(app, "alice@example.org")
    assert is_signed_in(visitor)


def test_session_ends_after_fourteen_days(alice: Person) -> None:
    with time_machine.travel(utcnow() + timedelta(days=13)):
        assert is_signed_in(alice)
    with time_machine.travel(utcnow() + timedelta(days=15)):
        assert not is_signed_in(alice)


def test_stale_sessions_are_cleared_away(app: Flask, alice: Person) -> None:
    with time_machine.travel(utcnow() + timedelta(days=15)):
        Person.signed_in(app, "bob@example.org")
        with app.app_context():
            SignInToken.issue("carol@example.org")
            assert db.session.scalar(select(func.count()).select_from(UserSession)) == 1


def test_signed_in_visitor_is_not_asked_again(alice: Person) -> None:
    assert alice.get("/auth/sign-in").location == "/messages"


def test_address_let_in_by_domain_becomes_a_user(app: Flask, visitor: Person, inbox: Inbox) -> None:
    ask(visitor, "Alice@Example.ORG")
    visitor.post(inbox.link)
    with app.app_context():
        user = db.session.scalars(select(User)).one()
    assert (user.email, user.active, user.administrator) == (ALICE, True, False)
    assert user.last_sign_in_at is not None


def test_user_shut_out_after_the_mail_cannot_use_it(
    app: Flask, visitor: Person, inbox: Inbox
) -> None:
    Person.signed_in(app, ALICE)
    ask(visitor)
    with app.app_context():
        db.session.scalars(User.select_by_email(ALICE)).one().deactivate()
        db.session.commit()
    assert visitor.post(inbox.link).status_code == 410


def test_first_visit_leads_to_sign_in(client: FlaskClient) -> None:
    assert client.get("/").location == "/messages"
    assert client.get("/messages").location == "/auth/sign-in?next=%2Fmessages"


CHROME = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/156.0.0.0 Safari/537.36"
)


@pytest.mark.parametrize(
    ("user_agent", "name"),
    [
        (
            "Mozilla/5.0 (X11; Linux x86_64; rv:153.0) Gecko/20100101 Firefox/153.0",
            "Firefox on Linux",
        ),
        (CHROME, "Chrome on Windows"),
        (f"{CHROME} Edg/156.0.0.0", "Edge on Windows"),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 26_0 like Mac OS X) AppleWebKit/605.1.15 "
            "Version/26.0 Mobile/15E148 Safari/604.1",
            "Safari on iPhone",
        ),
        ("curl/8.5.0", "an unknown browser"),
        ("", "an unknown browser"),
        ("Call +1 900 555 0100 now! https://evil.example", "an unknown browser"),
    ],
)
def test_browser_is_named_in_words_of_ours(user_agent: str, name: str) -> None:
    assert name_browser(user_agent) == name


def test_mail_quotes_nothing_that_a_stranger_sent(visitor: Person, inbox: Inbox) -> None:
    evil = "https://evil.example/ Firefox/1 call"
    form = {"email": ALICE, "next": "/messages?text=https://evil.example"}
    visitor.post("/auth/sign-in", form, headers={"User-Agent": evil, "Referer": evil})
    drain_mail(visitor.app)
    assert "evil" not in inbox.newest
    assert "with Firefox." in inbox.newest
