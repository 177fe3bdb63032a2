"""After a deletion, the database files hold neither number nor text: they are searched by byte."""

import random
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlencode
from uuid import uuid4

import psycopg
import pytest
from flask import Flask
from sqlalchemy import insert, select, text

from config import ROOT
from smstracker.clock import utcnow
from smstracker.extensions import db, writing
from smstracker.models import Message, RecipientSearch, ScheduledJob, StatusEvent
from smstracker.models.audit_log import AuditAction, record_audit
from smstracker.models.jobs import JobName
from smstracker.models.messages import reverse_digits
from smstracker.privacy.disk_traces import clean_text_index, vacuum
from smstracker.privacy.erasure import erase
from smstracker.privacy.retention import remove_expired
from smstracker.worker.maintenance import purge
from tests.clients import Person, words
from tests.refused_callbacks import refusal
from tests.retention_settings import let_settings_begin
from tests.signing import fields, sid

MakeApp = Callable[..., Flask]
NUMBER = "+15558675310"
SECRET = "zebra-under-the-viaduct-7531"
COUNT = 400
COMMAND = re.search(
    r"`VACUUM \(FULL, ANALYZE\) ([^`]+)`", (ROOT / "docs" / "privacy.md").read_text()
)
assert COMMAND
TABLES = re.findall(r"\w+", COMMAND[1])


def needles(number: str, text: str) -> list[bytes]:
    """The number as E.164, without +, reversed, encoded and national, and the text."""
    digits = number.removeprefix("+")
    return [digits.encode(), digits[::-1].encode(), digits[1:].encode(), text.encode()]


def fill(app: Flask, owner_id: int) -> None:
    """Many messages with events in random order, as a busy database has them; one is NUMBER's."""
    draw = random.Random(4)
    past = utcnow() - timedelta(days=2)
    rows, events = [], []
    for number in range(COUNT):
        recipient = NUMBER if number == COUNT // 2 else f"+1555{draw.randrange(10**7):07}"
        body = f"{SECRET if recipient == NUMBER else 'A visit'} {'word ' * draw.randrange(40)}"
        rows.append(
            {
                "owner_id": owner_id, "idempotency_key": uuid4(), "recipient": recipient,
                "recipient_reversed": reverse_digits(recipient), "body": body, "media_urls": [],
                "simulated": False, "twilio_sid": sid(number + 1), "status": "delivered",
                "status_at": past, "created_at": past, "final_at": past,
            }
        )  # fmt: skip
        payload = fields(sid(number + 1), "delivered", To=recipient)
        events.append({"message_id": number + 1, "status": "delivered", "payload": payload})
    draw.shuffle(events)
    shared = {"source": "callback", "received_at": past}
    body = urlencode(fields(sid(COUNT + 1), "sent", To=NUMBER)).encode()
    with app.app_context():
        for row in rows:
            db.session.execute(insert(Message).values(row))
        for event in events:
            db.session.execute(insert(StatusEvent).values(event | shared))
        db.session.add(refusal(past, body=body))
        RecipientSearch.get_or_create(owner_id, NUMBER[1:], is_full=True)
        db.session.commit()


def analyze(app: Flask, statement: str) -> None:
    """Change PostgreSQL's statistics, which hold samples of the columns, as it does by itself."""
    with app.app_context():
        if db.engine.dialect.name == "postgresql":
            with db.engine.begin() as connection:
                connection.execute(text(statement))


def read_files(app: Flask) -> Iterator[bytes]:
    """The contents of the files of the database, without PostgreSQL's write-ahead log."""
    url = app.config["SETTINGS"].database_url
    if url.startswith("sqlite"):
        path = Path(url.removeprefix("sqlite:///"))
        yield from (file.read_bytes() for file in path.parent.glob(f"{path.name}*"))
        return
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        for table in TABLES:
            connection.execute(f"VACUUM (FULL, ANALYZE) {table}")
        connection.execute("VACUUM FULL pg_statistic")
        connection.execute("CHECKPOINT")
        own = "SELECT oid, current_setting('data_directory') FROM pg_database WHERE datname = %s"
        row = connection.execute(own, [connection.info.dbname]).fetchone()
    assert row
    base = Path(row[1], "base", str(row[0]))  # other tests have other databases
    yield from (file.read_bytes() for file in base.rglob("*") if file.is_file())


def find_traces(app: Flask, sought: Sequence[bytes]) -> list[bytes]:
    contents = list(read_files(app))
    return [needle for needle in sought if any(needle in content for content in contents)]


@pytest.mark.slow
@pytest.mark.both_databases
def test_erased_person_is_in_no_file(app: Flask, alice: Person) -> None:
    analyze(app, "DELETE FROM pg_statistic")  # of earlier tests
    fill(app, alice.id)
    analyze(app, "ANALYZE")
    sought = needles(NUMBER, SECRET)
    assert len(find_traces(app, sought)) == len(sought)
    with app.app_context():
        result = erase(NUMBER, at_twilio=False, actor="ann@example.org")
        list(clean_text_index(None))
        assert not result.has_traces
    assert find_traces(app, sought) == []


@pytest.mark.slow
@pytest.mark.both_databases
def test_text_deleted_for_its_age_is_in_no_file(make_app: MakeApp, alice: Person) -> None:
    analyze(alice.app, "DELETE FROM pg_statistic")
    fill(alice.app, alice.id)
    analyze(alice.app, "ANALYZE")
    app = make_app(KEEP_TEXT_DAYS="1")
    let_settings_begin(app)
    with app.app_context():
        list(remove_expired(None))
        list(clean_text_index(None))
        purge()
    texts = [SECRET.encode(), b"A visit word", NUMBER[1:].encode() + b'"', b"%2B15558675310"]
    assert find_traces(app, texts) == []


def test_words_of_deleted_texts_leave_the_index(sqlite_url: str, app: Flask, alice: Person) -> None:
    """The index only notes a deletion, until its parts are merged."""
    message = alice.has_message(status="delivered", body="xylophone", final_at=utcnow())
    with app.app_context():
        erase(message.recipient, at_twilio=False, actor="ann@example.org")
        if db.engine.dialect.name == "sqlite":
            query = db.text("SELECT block FROM message_fts_data")
            before = b"".join(db.session.scalars(query))
            db.session.rollback()
            list(clean_text_index(None))
            db.session.rollback()
            after = b"".join(db.session.scalars(query))
            assert (b"xyl" in before, b"xyl" in after) == (True, False)


@pytest.mark.both_databases
def test_erasure_lets_the_index_be_cleaned_at_once(app: Flask) -> None:
    interval = timedelta(days=1)
    with app.app_context(), db.engine.begin() as connection:
        ScheduledJob.mark_done(connection, JobName.CLEANING, utcnow(), interval)
    with app.app_context():
        erase(NUMBER, at_twilio=False, actor="ann@example.org")
        assert ScheduledJob.read(db.session.connection(), JobName.CLEANING).is_due(
            utcnow(), interval
        )


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_index_is_left_alone_if_no_text_was_deleted(app: Flask, alice: Person) -> None:
    """It is large where there are many messages."""
    for word in ("xylophone", "zither", "oboe"):
        alice.has_message(body=word)
    query = text("SELECT id, block FROM message_fts_data ORDER BY id")
    with app.app_context():
        before = db.session.execute(query).all()
        db.session.rollback()
        list(clean_text_index(None))
        assert db.session.execute(query).all() == before


def test_vacuum_leaves_the_rest_as_it_was(app: Flask, alice: Person) -> None:
    alice.has_message(body="kept")
    with app.app_context():
        vacuum()
        assert db.session.scalars(select(Message.body)).all() == ["kept"]
    assert app.test_cli_runner().invoke(args=["purge", "--vacuum"]).exit_code == 0


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_vacuum_leaves_no_word_of_an_erased_text_in_the_index(app: Flask, alice: Person) -> None:
    message = alice.has_message(status="delivered", body="xylophone", final_at=utcnow())
    with app.app_context():
        erase(message.recipient, at_twilio=False, actor="ann@example.org")
        vacuum()
    assert find_traces(app, [b"xyl"]) == []


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("trace", [NUMBER, reverse_digits(NUMBER)])
def test_page_tells_of_an_unused_part_that_holds_the_number(app: Flask, trace: str) -> None:
    app.test_cli_runner().invoke(args=["users", "add", "carol@example.org", "--admin"])
    admin = Person.signed_in(app, "carol@example.org")

    def erase_by_page() -> bool:
        form = {"number": NUMBER, "confirmed": "1"}
        options = {"page": "/privacy", "follow_redirects": True}
        page = words(admin.post("/privacy/erase", form, **options).text)
        return "An unused part of the database file still holds the number." in page

    assert not erase_by_page()
    with app.app_context(), writing():
        record_audit(AuditAction.EXPORTED_PERSON, actor=trace)  # where nothing looks for a number
    assert erase_by_page()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_run_that_deletes_by_age_leaves_nothing_in_the_log(
    make_app: MakeApp, alice: Person
) -> None:
    past = utcnow() - timedelta(days=2)
    times = {"created_at": past, "status_at": past, "final_at": past}
    alice.has_message(recipient=NUMBER, status="delivered", body=SECRET, **times)
    app = make_app(KEEP_MESSAGE_DAYS="1")
    let_settings_begin(app)
    url = app.config["SETTINGS"].database_url
    log = Path(f"{url.removeprefix('sqlite:///')}-wal")
    sought = [SECRET.encode(), NUMBER[1:].encode()]
    assert all(needle in log.read_bytes() for needle in sought)
    with app.app_context():
        list(remove_expired(None))
    assert not any(needle in log.read_bytes() for needle in sought)


@pytest.mark.both_databases
def test_number_in_a_text_to_somebody_else_is_no_unused_part(app: Flask, alice: Person) -> None:
    alice.has_message(recipient=NUMBER, status="delivered", final_at=utcnow())
    alice.has_message(recipient="+14155550001", status="delivered", body=f"Call {NUMBER}")
    alice.has_message(recipient="+14155550001", status="delivered", body="Call (555) 867-5310")
    run = app.test_cli_runner().invoke
    output = run(args=["messages", "erase", "--yes"], input=NUMBER).output
    assert "The number stands in 2 texts that somebody typed" in output
    assert "vacuum" not in output
    again = run(args=["messages", "erase", "--yes"], input=NUMBER).output
    assert "The number stands in 2 texts" in again
