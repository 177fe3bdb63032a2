"""Messages that are saved together: each once, within the limits, and none for another's fault."""

import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from flask import Flask
from sqlalchemy import event, select, update
from sqlalchemy.exc import OperationalError

from smstracker.api import send_groups
from smstracker.api.send_groups import MAX_GROUP, SendGroups
from smstracker.extensions import db, writing
from smstracker.models import AlreadySentError, Message, SendLimitError, User
from smstracker.models.message_drafts import (
    Draft,
    create_all,
    create_locked,
    lock_owners,
)
from smstracker.models.messages import Content
from smstracker.models.send_limits import NotSavedError
from tests.clients import Person
from tests.databases import await_lock_wait
from tests.programs import Program
from tests.stream_readers import wait_until

pytestmark = pytest.mark.both_databases

MakeApp = Callable[..., Flask]
NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
CONTENT = Content("+15558675310", "+15005550006", "Hello")


def save(app: Flask, drafts: Sequence[Draft]) -> list[Message | NotSavedError]:
    with app.app_context():
        outcomes = create_all(drafts)
        db.session.commit()
        return outcomes


def drafts_of(owner_id: int, count: int) -> list[Draft]:
    return [Draft(owner_id, uuid.uuid4(), CONTENT) for _ in range(count)]


def test_key_that_comes_twice_in_a_group_makes_one_message(alice: Person, bob: Person) -> None:
    key, other = uuid.uuid4(), Content("+15558675310", "+15005550006", "Other")
    first, same, different, others = save(
        alice.app,
        [
            Draft(alice.id, key, CONTENT),
            Draft(alice.id, key, CONTENT),
            Draft(alice.id, key, other),
            Draft(bob.id, key, CONTENT),
        ],
    )
    assert isinstance(first, Message)
    assert isinstance(others, Message)
    for outcome, is_same in ((same, True), (different, False)):
        assert isinstance(outcome, AlreadySentError)
        assert (outcome.message, outcome.is_same_content) == (first, is_same)
    assert [message.body for message in alice.messages()] == ["Hello"]


@pytest.mark.parametrize(
    ("limits", "earlier", "wanted", "saved", "wait"),
    [
        ((2, 10), 0, 3, 2, timedelta(minutes=1)),
        ((2, 10), 1, 3, 1, timedelta(seconds=50)),
        ((2, 10), 2, 1, 0, timedelta(seconds=50)),
        ((10, 3), 2, 5, 1, timedelta(hours=24, seconds=-10)),
        ((10, 10), 2, 8, 8, None),
        ((5, 5), 9, 2, 0, timedelta(seconds=50)),
    ],
)
def test_limit_ends_a_group(
    make_app: MakeApp,
    limits: tuple[int, int],
    earlier: int,
    wanted: int,
    saved: int,
    wait: timedelta | None,
) -> None:
    app = make_app(SEND_LIMIT_PER_MINUTE=str(limits[0]), SEND_LIMIT_PER_DAY=str(limits[1]))
    with time_machine.travel(NOON, tick=False) as clock:
        generous = make_app()
        alice = Person.signed_in(app, "alice@example.org")
        save(generous, drafts_of(alice.id, earlier))
        clock.shift(10)
        outcomes = save(app, drafts_of(alice.id, wanted))
    assert [isinstance(outcome, Message) for outcome in outcomes] == (
        [True] * saved + [False] * (wanted - saved)
    )
    for outcome in outcomes[saved:]:
        assert isinstance(outcome, SendLimitError)
        assert outcome.wait == wait
    assert len(alice.messages()) == earlier + saved


def test_limit_waits_for_the_oldest_message_that_counts(make_app: MakeApp) -> None:
    app = make_app(SEND_LIMIT_PER_MINUTE="2")
    alice = Person.signed_in(app, "alice@example.org")
    with time_machine.travel(NOON, tick=False) as clock:
        for _ in range(2):
            save(app, drafts_of(alice.id, 1))
            clock.shift(10)
        outcomes = save(app, drafts_of(alice.id, 2))
    waits = [outcome.wait for outcome in outcomes if isinstance(outcome, SendLimitError)]
    assert waits == [timedelta(seconds=40)] * 2


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_owners_are_locked_in_one_order(app: Flask, alice: Person, bob: Person) -> None:
    """Else two groups of the same owners could wait for each other."""

    def lock_both() -> None:
        with app.app_context(), writing():
            lock_owners(ids)

    ids = [alice.id, bob.id]
    first, second = (select(User.id).where(User.id == user_id) for user_id in ids)
    with app.app_context(), db.engine.begin() as connection:
        moved = update(User).where(User.id == ids[0])
        connection.execute(moved.values(email="zoe@example.org"))  # of an index: no HOT update
    with app.app_context(), ThreadPoolExecutor(1) as thread, db.engine.begin() as connection:
        connection.execute(first.with_for_update())
        done = thread.submit(lock_both)
        await_lock_wait()
        connection.execute(second.with_for_update(nowait=True))
        connection.rollback()
        done.result(30)


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many messages each group has that is being saved."""
    sizes: list[int] = []

    def create(drafts: Sequence[Draft]) -> list[Message | NotSavedError]:
        sizes.append(len(drafts))
        return create_locked(drafts)

    monkeypatch.setattr(send_groups, "create_locked", create)
    return sizes


def wait_in(groups: SendGroups, drafts: Sequence[Draft]) -> list[send_groups._Waiting]:
    """Let drafts come one after the other; the first has to save them."""
    waiting = [send_groups._Waiting(draft) for draft in drafts]
    assert [groups._begin(one) for one in waiting] == [True, *[False] * (len(drafts) - 1)]
    return waiting


def test_sends_that_come_before_their_turn_share_a_transaction(
    make_app: MakeApp, sizes: list[int]
) -> None:
    app = make_app(SEND_LIMIT_PER_MINUTE="1000")
    program = Program(app)
    groups: SendGroups = app.extensions[send_groups.EXTENSION]
    program.send("k")  # the first use of a token is noted, which would wait for the lock
    sizes.clear()
    with ThreadPoolExecutor(12) as threads:
        with app.app_context(), writing():
            lock_owners([program.owner_id])
            answers = threads.map(lambda n: program.send(f"k{n}"), range(12))
            wait_until(lambda: len(groups._waiting.get(program.owner_id, ())) == 11)
        assert [answer.status_code for answer in answers] == [202] * 12
    assert sizes == [12]
    assert len(program.messages()) == 13


def test_owner_whose_row_is_locked_takes_not_all_threads(make_app: MakeApp) -> None:
    app = make_app(SEND_LIMIT_PER_MINUTE="1000", WEB_THREADS="4")
    program = Program(app)
    program.send("k")  # the first use of a token is noted, which would wait for the lock
    with ThreadPoolExecutor(12) as threads:
        with app.app_context(), writing():
            lock_owners([program.owner_id])
            requests = [threads.submit(program.send, f"k{n}") for n in range(12)]
            wait_until(lambda: sum(request.done() for request in requests) == 8)
            refused = {request for request in requests if request.done()}
        answers = [request.result() for request in requests]
    codes = Counter(answer.status_code for answer in answers)
    assert codes == {202: 4, 503: 8}
    [told] = {answer.json["detail"] for answer in answers if answer.status_code == 503}
    assert told.endswith("Nothing was saved.")
    assert all(request.result().headers["Retry-After"] == "2" for request in refused)
    assert len(program.messages()) == 5
    assert program.send("k11").status_code in (200, 202)


def test_group_has_a_limit(make_app: MakeApp, sizes: list[int]) -> None:
    app, groups = make_app(SEND_LIMIT_PER_MINUTE="1000"), SendGroups()
    program = Program(app)
    with app.app_context():
        first, *others = wait_in(groups, drafts_of(program.owner_id, MAX_GROUP + 11))
        groups._save_group(first)
        following = others[MAX_GROUP - 1]
        assert [waiting.wake.is_set() for waiting in others] == [True] * MAX_GROUP + [False] * 10
        assert not following.is_over
        groups._save_group(following)
        assert all(waiting.wake.is_set() for waiting in others)
        assert groups._begin(first)
    assert sizes == [MAX_GROUP, 11]
    assert len(program.messages()) == MAX_GROUP + 11


def test_drafts_of_an_owner_wait_for_no_other_owner(app: Flask, sizes: list[int]) -> None:
    locked, free, groups = Program(app), Program(app, "bob@example.org"), SendGroups()
    [first], [stranger] = drafts_of(locked.owner_id, 1), drafts_of(free.owner_id, 1)
    assert groups._begin(send_groups._Waiting(first))
    with app.app_context():
        assert isinstance(groups.save(stranger), Message)
    assert not groups._begin(send_groups._Waiting(first))
    assert sizes == [1]


def test_group_waits_once_for_a_database_that_is_away(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, groups, tries = Program(app), SendGroups(), []

    def create(drafts: Sequence[Draft]) -> list[Message | NotSavedError]:
        tries.append(len(drafts))
        raise OperationalError("INSERT", {}, Exception("a lock was held too long"))

    monkeypatch.setattr(send_groups, "create_locked", create)
    monkeypatch.setattr(send_groups, "create_all", create)
    with app.app_context():
        first, second, third = wait_in(groups, drafts_of(program.owner_id, 3))
        groups._save_group(first)
    assert tries == [3]
    assert all(isinstance(one.error, OperationalError) for one in (first, second, third))


def test_draft_that_cannot_be_stored_harms_no_other(app: Flask) -> None:
    program, groups = Program(app), SendGroups()
    bad = Draft(program.owner_id, uuid.uuid4(), Content("+" + "1" * 40, "+15005550006", "x\0"))

    def refuse(_mapper: object, _connection: object, message: Message) -> None:
        if "\0" in message.body:
            raise ValueError("cannot be stored")

    event.listen(Message, "before_insert", refuse)
    try:
        with app.app_context():
            drafts = [*drafts_of(program.owner_id, 1), bad, *drafts_of(program.owner_id, 1)]
            first, second, third = wait_in(groups, drafts)
            groups._save_group(first)
    finally:
        event.remove(Message, "before_insert", refuse)
    assert isinstance(first.outcome, Message)
    assert isinstance(second.error, ValueError)
    assert isinstance(third.outcome, Message)
    assert len(program.messages()) == 2
