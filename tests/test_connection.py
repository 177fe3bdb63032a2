"""The page on the connection, its banner on the log, and who may see them."""

import re
from collections.abc import Callable
from datetime import timedelta
from urllib.parse import urlencode

import pytest
import time_machine
from flask import Flask
from sqlalchemy import event, select, text
from sqlalchemy.exc import OperationalError

from config import load
from smstracker import create_app
from smstracker.clock import utcnow
from smstracker.connection import banner, refusal_causes, refused_page
from smstracker.connection.report import build_report
from smstracker.extensions import db
from smstracker.models import CallbackTally, Heartbeat, RefusedCallback, User
from smstracker.models.callback_counts import bucket_start
from smstracker.refused import replay
from smstracker.refused.sentences import READY
from smstracker.refused.stored_diagnosis import diagnose_pending
from tests.clients import Client, Person, words
from tests.refused_callbacks import refusal
from tests.serving import close
from tests.signing import STATUS_PATH, call_back, fields, sid, signature
from tests.twilio_stub import answer, wire

SILENCE = {"status": "sent", "status_source": "send"}


@pytest.fixture
def admin(app: Flask) -> Person:
    """Carol, who connects Twilio."""
    carol = Person.signed_in(app, "carol@example.org")
    with app.app_context():
        db.session.scalars(User.select_by_email(carol.email)).one().administrator = True
        db.session.commit()
    return carol


def store(app: Flask, *rows: object) -> None:
    with app.app_context():
        db.session.add_all(rows)
        db.session.commit()


def add_worker(app: Flask, problem: str | None = None) -> None:
    now = utcnow()
    store(app, Heartbeat(worker="w1", started_at=now, beat_at=now, problem=problem))


def test_page_is_for_administrators(app: Flask, bob: Person, admin: Person) -> None:
    assert admin.get("/callbacks").status_code == 200
    assert bob.get("/callbacks").status_code == 403
    answer = app.test_client().get("/callbacks")
    assert (answer.status_code, answer.location) == (302, "/auth/sign-in?next=%2Fcallbacks")
    assert "Connection</a>" in admin.get("/messages").text
    assert "Connection</a>" not in bob.get("/messages").text


def test_replay_is_for_administrators_with_a_token(app: Flask, bob: Person, admin: Person) -> None:
    assert bob.post("/callbacks/replay", page="/messages").status_code == 403
    assert admin.client.post("/callbacks/replay").status_code == 400
    assert admin.client.get("/callbacks/replay").status_code == 405


def test_sign_in_leads_back_to_the_page(app: Flask) -> None:
    from smstracker.auth.next_path import safe_next_path

    with app.app_context():
        assert safe_next_path("/callbacks") == "/callbacks"
        assert safe_next_path("/callbacks/replay") is None


def test_everybody_in_the_demo_is_an_administrator(tmp_path, migrated_sqlite) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "demo.sqlite").write_bytes(migrated_sqlite.read_bytes())
    demo = create_app(load({}, instance=tmp_path))
    demo.test_client_class = Client
    page = Person.signed_in(demo, "me@home.example").get("/callbacks")
    assert page.status_code == 200
    assert "Connection to the simulated carrier" in words(page.text)
    close(demo)


def test_page_of_a_fresh_installation_says_why_it_is_empty(admin: Person) -> None:
    page = words(admin.get("/callbacks").text)
    assert "No message was sent in the last 24 hours, so no callback was expected." in page
    assert "nothing to measure" in page
    assert "No worker runs" in page
    assert "None. Requests to a callback address" in page
    assert "Replay all" not in page


def test_page_shows_the_numbers_and_the_sentence(app: Flask, alice: Person, admin: Person) -> None:
    add_worker(app, "Twilio could not be reached.")
    now = utcnow()
    ended = {"status": "delivered", "final_at": now, "accepted_at": now}
    alice.has_message(**ended, status_source="callback")
    alice.has_message(**ended, status_source="lookup")
    long_ago = now - timedelta(minutes=11)
    alice.has_message(status="unknown", status_at=long_ago, recipient="+15550001111")
    page = admin.get("/callbacks").text
    page = words(page)
    assert "Twilio cannot be asked: Twilio could not be reached." in page
    assert "Outcomes by callback 1 1 1" in page
    assert "share by look-up 50 % 50 % 50 %" in page
    assert "1 message with an unknown outcome" in page
    assert "0001111" not in page.replace(" ", "").replace("-", "")


def test_page_counts_what_could_not_be_stored_if_there_is_any(app: Flask, admin: Person) -> None:
    assert "Could not be stored" not in words(admin.get("/callbacks").text)
    counts = {"accepted": 9, "repeated": 0, "refused": 0, "not_stored": 2}
    store(app, CallbackTally(bucket_at=bucket_start(utcnow()), process="p", **counts))
    assert "Could not be stored 2 2 2" in words(admin.get("/callbacks").text)


def test_quarantine_lists_the_newest_first_fifty_a_page(app: Flask, admin: Person) -> None:
    now = utcnow()
    store(app, *(refusal(now, is_plausible=bool(n % 2)) for n in range(121)))
    ids: list[int] = []
    path: str | None = "/callbacks"
    while path:
        page = admin.get(path).text
        ids += [int(n) for n in re.findall(r'id="refused-(\d+)"', page)]
        older = re.search(r'class="older" href="([^"]+)"', page)
        path = older[1].replace("&amp;", "&") if older else None
    assert ids == list(range(121, 0, -1))
    of_strangers = admin.get("/callbacks?kind=strangers").text
    assert len(re.findall(r'id="refused-\d+"', of_strangers)) == 50
    assert "kind=strangers&amp;before=" in of_strangers


@pytest.mark.parametrize(
    "query", ["before=x", "before=-1", "before=99999999999999999999", "kind=x", "before="]
)
def test_address_that_makes_no_sense_is_a_404(admin: Person, query: str) -> None:
    assert admin.get(f"/callbacks?{query}").status_code == 404


def test_refusal_is_explained_with_its_fix(app: Flask, admin: Person) -> None:
    now = utcnow()
    store(
        app,
        refusal(now, diagnosis="Valid for http://x.example", setting="PUBLIC_BASE_URL", count=4),
    )
    page = words(admin.get("/callbacks").text)
    refused = "4 callbacks were refused in the last hour. The reason of each: Valid for http://x"
    assert refused in page
    assert "Setting: PUBLIC_BASE_URL" in page
    assert "4 times" in page
    assert "Replay all" not in page  # nothing of it verifies
    assert "None is valid with today's settings" in page


def test_page_takes_little_time_for_what_is_not_explained_yet(
    app: Flask, admin: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(app, *(refusal(utcnow(), fingerprint=str(number)) for number in range(3)))
    assert "Not explained yet" not in words(admin.get("/callbacks").text)
    monkeypatch.setattr(refusal_causes, "MAX_EXPLAIN_SECONDS", -1)
    page = words(admin.get("/callbacks").text)
    assert page.count("Not explained yet: the worker does it soon") == 3


def test_applied_refusal_says_when_it_came_and_gives_no_advice(app: Flask, admin: Person) -> None:
    now, came_at = utcnow(), utcnow() - timedelta(minutes=5)
    ready = refusal(came_at, diagnosis=READY, setting="TWILIO_AUTH_TOKEN", replayed_at=now)
    store(app, ready, refusal(came_at, replayed_at=now))
    page = words(admin.get("/callbacks").text)
    applied = "Applied Received 5 minutes ago · applied just now It was refused at first, and has"
    assert page.count(applied) == 2
    assert "replay it" not in page
    assert "TWILIO_AUTH_TOKEN" not in page


def test_page_does_not_deny_a_callback_that_could_not_be_stored(app: Flask, admin: Person) -> None:
    assert "No callback has arrived yet." in words(admin.get("/callbacks").text)
    counts = {"accepted": 0, "repeated": 0, "refused": 0, "not_stored": 1}
    store(app, CallbackTally(bucket_at=bucket_start(utcnow()), process="p", **counts))
    assert "No callback has been accepted yet." in words(admin.get("/callbacks").text)


def test_log_says_that_twilio_refuses_the_credentials_before_the_worker_knows(
    make_app: Callable[..., Flask], app: Flask, alice: Person, admin: Person
) -> None:
    add_worker(app)
    refused = answer(401, {"code": 20003, "message": "x", "status": 401})
    with wire(refused) as twilio:
        Person.signed_in(make_app(TWILIO_API_BASE_URL=twilio.url), alice.email).send()
    said = "Twilio does not accept the credentials, so nothing can be sent or looked up."
    assert f"{said} Your administrator sees" in words(alice.get("/messages").text)
    assert f"{said} Compare TWILIO_AUTH_TOKEN" in words(admin.get("/callbacks").text)
    alice.has_message(status="unreached")
    assert said in words(admin.get("/callbacks").text)
    alice.has_message(status="queued", twilio_sid=sid(1))
    assert said not in words(admin.get("/callbacks").text)


def test_end_of_a_long_reason_is_folded(app: Flask, admin: Person) -> None:
    reason = f"Valid for http://{'long-name.' * 22}example, set PUBLIC_BASE_URL to it."
    store(app, refusal(utcnow(), diagnosis=reason, setting="PUBLIC_BASE_URL"))
    page = admin.get("/callbacks").text
    shown, _, folded = page.partition("Show the whole reason</summary>")
    assert "set PUBLIC_BASE_URL" not in shown.partition("Refused callbacks</h2>")[2]
    assert "Setting: <code>PUBLIC_BASE_URL" in shown
    assert "PUBLIC_BASE_URL to it." in folded.partition("</details>")[0]
    assert refused_page.split_long("short") == ("short", "")


def test_what_strangers_posted_is_escaped(app: Flask, admin: Person) -> None:
    evil = '"><script>alert(1)</script>\u202e\x1b[31m'
    columns = dict.fromkeys(
        ("target", "sent_host", "forwarded_host", "content_type", "diagnosis", "twilio_sid"), evil
    )
    columns |= {"forwarded_proto": "<i>", "setting": "<b>", "reason": "<u>", "status": "<s>"}
    rows = [refusal(utcnow(), **columns, body=evil.encode() + b"\xff\x00")]
    rows.append(refusal(utcnow(), body=f"{evil}={evil}&MessageStatus=<script>".encode()))
    store(app, *rows)
    page = admin.get("/callbacks").text
    for markup in ("<script>alert", "<i>", "<b>", "<u>", "<s>", "\u202e", "\x1b", "=<script"):
        assert markup not in page
    assert "alert(1)" in page


def test_what_came_shows_no_whole_phone_number(app: Flask, admin: Person) -> None:
    query = "/webhooks/twilio/status?To=%2B15558675310&id=15558675310"
    store(
        app,
        refusal(utcnow(), target=query, body=b"To=%2B15558675310&RawDlrDoneDate=2611220836"),
        refusal(utcnow(), content_type="application/json", body=b'{"To": "+15558675310"}'),
    )
    escaped = ("whatsapp%3A%2B1555", "%252B1555", "\\u002b1555", "+1-555-", "+1 (555) ")
    store(
        app,
        *(
            refusal(utcnow(), content_type="text/plain", body=f"{start}8675310".encode())
            for start in escaped
        ),
        refusal(utcnow(), content_type="text/plain", body=b"+1-555-867-5310"),
    )
    page = admin.get("/callbacks").text
    assert "8675310" not in page
    assert "867-5310" not in page
    assert page.count("…5310") > len(escaped)
    assert "RawDlrDoneDate = 2611220836" in page


def test_text_of_an_incoming_message_is_not_shown(app: Flask, admin: Person) -> None:
    store(app, refusal(utcnow(), body=b"NumMedia=0&Body=Call+me+at+the+mill"))
    page = admin.get("/callbacks").text
    assert "the mill" not in page
    assert "Body = (19 characters)" in page


def test_body_is_cut_where_it_would_weigh_down_the_page(app: Flask) -> None:
    long = refusal(utcnow(), body=b"A=" + b"x" * 16000)
    assert len(refused_page.format_body(long)) < refused_page.MAX_BODY_CHARACTERS + 100


def test_page_costs_the_same_whatever_is_kept(app: Flask, alice: Person, admin: Person) -> None:
    store(app, *(refusal(utcnow(), diagnosis=f"Cause {n}") for n in range(60)))
    statements: list[str] = []
    with app.app_context():
        engine = db.engine
    event.listen(
        engine, "before_cursor_execute", lambda _c, _cursor, sql, *_rest: statements.append(sql)
    )
    assert admin.get("/callbacks").status_code == 200
    assert {sql.split()[0] for sql in statements} <= {"SELECT", "BEGIN", "PRAGMA", "SHOW"}
    assert len([sql for sql in statements if sql.startswith("SELECT")]) <= 24


def test_log_shows_the_sentence_to_everybody_when_it_is_bad(
    app: Flask, alice: Person, admin: Person
) -> None:
    add_worker(app)
    alice.has_message(**SILENCE, accepted_at=utcnow() - timedelta(minutes=6))
    said = "No callback has ever arrived, though 1 message waits for one"
    assert said in words(alice.get("/messages").text)
    assert "flask doctor" not in alice.get("/messages").text
    page = admin.get("/messages").text
    assert said in words(page)
    assert "flask doctor" in page
    assert 'href="/callbacks"' in page


def has_banner(person: Person) -> bool:
    """Whether the log has a callout beside the hidden one that says who is signed out."""
    _, _, rest = person.get("/messages").text.partition('id="signed-out"')
    return "callout" in rest


def test_log_is_quiet_while_the_connection_is_well(app: Flask, alice: Person) -> None:
    add_worker(app)
    now = utcnow()
    told = {"status": "delivered", "status_source": "callback", "final_at": now}
    alice.has_message(**told, accepted_at=now)
    assert not has_banner(alice)


def test_banner_is_computed_every_half_minute(app: Flask, alice: Person) -> None:
    with time_machine.travel(utcnow(), tick=False) as clock:
        add_worker(app)
        assert not has_banner(alice)
        alice.has_message(**SILENCE, accepted_at=utcnow() - timedelta(minutes=6))
        clock.shift(29)
        assert not has_banner(alice)
        clock.shift(1)
        assert has_banner(alice)


def test_log_does_not_break_when_the_connection_cannot_be_judged(
    app: Flask, alice: Person, monkeypatch: pytest.MonkeyPatch, make_app: Callable[..., Flask]
) -> None:
    with app.app_context(), db.engine.begin() as connection:
        connection.execute(text("ALTER TABLE heartbeat RENAME TO hidden"))
    try:
        assert alice.get("/messages").status_code == 200
    finally:
        with app.app_context(), db.engine.begin() as connection:
            connection.execute(text("ALTER TABLE hidden RENAME TO heartbeat"))

    def fail(*_: object) -> None:
        raise OperationalError("SELECT", {}, Exception())

    monkeypatch.setattr(banner, "build_report", fail)
    with time_machine.travel(utcnow() + timedelta(minutes=1)):
        assert alice.get("/messages").status_code == 200


def test_replay_applies_what_verifies_by_now(app: Flask, alice: Person, admin: Person) -> None:
    message = alice.has_message(status="sent", twilio_sid=sid(1))
    form = fields(sid(1), "delivered")
    good = {"body": urlencode(form).encode(), "signature": signature(STATUS_PATH, form)}
    good["body_length"] = len(good["body"])
    store(app, refusal(utcnow(), **good), refusal(utcnow(), signature="forged"))
    before = words(admin.get("/callbacks").text)
    assert "1 callback refused in the last hour is valid with today's settings: replay it" in before
    assert "Replay applies the 1 callback that is valid now" in before
    assert before.count("Replay all") == 1
    answer = admin.post("/callbacks/replay", page="/callbacks")
    assert (answer.status_code, answer.location) == (303, "/callbacks")
    assert [m.status for m in alice.messages() if m.id == message.id] == ["delivered"]
    page = words(admin.get("/callbacks").text)
    assert "1 callback was applied. 1 callback stays refused. 1 ×: " in page
    assert "stays refused" not in words(admin.get("/callbacks").text)


@pytest.mark.parametrize("is_diagnosed", [True, False])
def test_number_of_what_can_be_replayed_does_not_count_what_cannot(
    app: Flask, alice: Person, admin: Person, is_diagnosed: bool
) -> None:
    columns = {"diagnosis": "No token of yours fits.", "setting": "T"} if is_diagnosed else {}
    form = fields(sid(1), "delivered")
    good = {"body": urlencode(form).encode(), "signature": signature(STATUS_PATH, form)}
    good["body_length"] = len(good["body"])
    others = [refusal(utcnow(), **columns) for _ in range(2)]
    store(app, others[0], refusal(utcnow(), **good, **columns), others[1])
    alice.has_message(**SILENCE, accepted_at=utcnow() - timedelta(minutes=6))
    page = words(admin.get("/callbacks").text)
    expected = (
        "1 of the 3 callbacks refused in the last hour is valid with today's settings: replay"
    )
    assert f"{expected} it." in page
    other = "No token of yours fits" if is_diagnosed else "Its signature cannot be Twilio's"
    assert other in page.partition("Reasons in the last 7 days")[2]
    assert "2 in 1 h" in page


def test_replay_is_offered_if_there_is_more_than_can_be_looked_at(
    app: Flask, admin: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(app, *(refusal(utcnow()) for _ in range(3)))
    assert "Replay all" not in admin.get("/callbacks").text
    monkeypatch.setattr(replay, "MAX_FORECAST", 2)
    page = words(admin.get("/callbacks").text)
    assert "Replay all" in page
    assert "Replay applies only what is valid with today's settings." in page


def test_replay_of_one_leaves_the_others(app: Flask, admin: Person) -> None:
    store(app, *(refusal(utcnow(), signature="forged") for _ in range(3)))
    for chosen, said in (
        ("2", "1 callback stays refused"),
        ("77", "There was nothing to replay."),
    ):
        answer = admin.post("/callbacks/replay", {"id": chosen}, page="/callbacks")
        assert answer.status_code == 303
        assert said in words(admin.get("/callbacks").text)


@pytest.mark.parametrize("nonsense", ["x", "-1", "", "9" * 30])
def test_replay_of_what_cannot_be_is_a_404(admin: Person, nonsense: str) -> None:
    answer = admin.post("/callbacks/replay", {"id": nonsense}, page="/messages")
    assert answer.status_code == 404


def test_looking_changes_nothing(app: Flask, admin: Person) -> None:
    store(app, refusal(utcnow()))
    with app.app_context():
        before = db.session.execute(select(RefusedCallback.__table__)).all()
    for path in ("/callbacks", "/callbacks?kind=account", "/callbacks/replay"):
        admin.get(path)
    with app.app_context():
        assert db.session.execute(select(RefusedCallback.__table__)).all() == before


def test_forged_one_does_not_hide_what_a_proxy_does(app: Flask, admin: Person) -> None:
    client = app.test_client()
    for number in range(3):
        call_back(client, fields(sid(number), "sent"), signed_path=f"{STATUS_PATH}/")
    form = fields(sid(9), "sent")
    client.post(STATUS_PATH, data=form, headers={"X-Twilio-Signature": "x" * 27 + "="})
    page = words(admin.get("/callbacks").text)
    assert (
        "3 callbacks were refused in the last hour. The reason of each: Valid with a slash" in page
    )


def test_one_forged_callback_alarms_nobody(app: Flask, admin: Person) -> None:
    app.test_client().post(STATUS_PATH, data=fields(sid(9), "sent"))
    assert "refused in the last hour" not in words(admin.get("/messages").text)


def test_one_reason_is_told_once_whether_it_is_written_down_or_not(
    app: Flask, admin: Person
) -> None:
    client = app.test_client()
    for number in (1, 2):
        call_back(client, fields(sid(number), "sent"), token="f" * 32)
        if number == 1:
            with app.app_context():
                diagnose_pending()
                db.session.commit()
    with app.app_context():
        [cause] = build_report(utcnow()).causes
    assert (cause.hour, cause.day, cause.week) == (2, 2, 2)
    assert words(admin.get("/callbacks").text).count("2 in 1 h") == 1
