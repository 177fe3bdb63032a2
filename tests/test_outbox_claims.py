"""Claims of the outbox: each message by one worker, in order, at the pace of its sender."""

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest
import time_machine
from flask import Flask
from sqlalchemy import select, update

from smstracker.clock import utcnow
from smstracker.extensions import db, writing
from smstracker.models import Batch, Message, SenderPace, SendLimitError, outbox
from smstracker.models.batches import BatchState
from smstracker.models.events import StatusUpdate
from smstracker.models.message_drafts import AlreadySentError
from smstracker.models.outbox import LEASE, STUCK_AFTER, OutboxMessage
from smstracker.models.sender_pace import IN_ROW, MAX_PAUSE
from smstracker.sms.lookup_schedule import SEARCH_AGES
from smstracker.sms.status import Source
from tests.batches import people, queue, read_batch, ready_batch, start
from tests.clients import Person
from tests.databases import await_lock_wait

pytestmark = pytest.mark.both_databases

MakeApp = Callable[..., Flask]
NUMBER, SERVICE = "+15005550006", "MG" + "0" * 32
SECOND = timedelta(seconds=1)


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    return make_app(SEND_PER_SECOND="10000")


def claim(app: Flask, limit: int = 10) -> list[OutboxMessage]:
    with app.app_context(), db.engine.begin() as connection:
        return outbox.claim(connection, limit, utcnow())


def claim_ids(app: Flask, limit: int = 10) -> list[int]:
    return [message.id for message in claim(app, limit)]


def begin(app: Flask, message: OutboxMessage) -> OutboxMessage | None:
    with app.app_context(), db.engine.begin() as connection:
        return next(iter(outbox.begin_hand_over(connection, [message])), None)


def begin_next(app: Flask) -> OutboxMessage:
    """Begin the hand-over of the message whose turn it is."""
    [claimed] = claim(app, 1)
    begun = begin(app, claimed)
    assert begun
    return begun


def put_back(app: Flask, message: OutboxMessage) -> bool:
    refusal = StatusUpdate("refused", Source.SEND, {}, error_code="20429")
    with app.app_context(), db.engine.begin() as connection:
        return outbox.put_back(connection, message, refusal)


def find_stuck_time(app: Flask) -> datetime | None:
    with app.app_context(), db.engine.begin() as connection:
        return outbox.find_stuck_time(connection, utcnow())


def next_due_at(app: Flask) -> datetime | None:
    with app.app_context(), db.engine.begin() as connection:
        return outbox.next_due_at(connection, utcnow())


def test_queued_message_waits_and_plans_no_look_up(app: Flask, alice: Person) -> None:
    message = alice.queue()
    assert (message.status, message.next_lookup_at) == ("outbox", None)
    assert message.send_at == message.created_at
    [claimed] = claim(app)
    assert (claimed.id, claimed.recipient, claimed.sender) == (message.id, "+15558670000", NUMBER)


def test_same_key_queues_one_message(app: Flask, alice: Person) -> None:
    key = uuid.uuid4()
    message = alice.queue(key=key)
    for number, is_same in ((0, True), (1, False)):
        with pytest.raises(AlreadySentError) as error:
            alice.queue(number, key=key)
        assert error.value.is_same_content == is_same
    assert alice.message().id == message.id


def test_waiting_messages_count_in_the_send_limit(make_app: MakeApp) -> None:
    alice = Person.signed_in(make_app(SEND_LIMIT_PER_MINUTE="2"), "alice@example.org")
    alice.queue(send_at=utcnow() + timedelta(days=1))
    alice.queue()
    with pytest.raises(SendLimitError):
        alice.queue()


def test_message_is_claimed_once_until_its_lease_ends(app: Flask, alice: Person) -> None:
    message = alice.queue()
    assert claim_ids(app) == [message.id]
    assert claim_ids(app) == []
    assert next_due_at(app) is None
    with time_machine.travel(utcnow() + LEASE + SECOND):
        assert claim_ids(app) == [message.id]


def test_released_message_is_claimed_at_once(app: Flask, alice: Person) -> None:
    message = alice.queue()
    claim(app)
    with app.app_context(), db.engine.begin() as connection:
        outbox.release(connection, message.id)
    with time_machine.travel(utcnow() + SECOND):
        assert claim_ids(app) == [message.id]


def test_lease_of_a_clock_that_was_ahead_is_over(app: Flask, alice: Person) -> None:
    message = alice.queue()
    with app.app_context(), db.engine.begin() as connection:
        far = utcnow() + timedelta(days=1)
        connection.execute(update(Message).values(claimed_until=far))
        connection.execute(update(SenderPace).values(next_at=far, paused_until=far))
    assert claim_ids(app) == [message.id]


def test_messages_go_in_order_of_their_time(app: Flask, alice: Person) -> None:
    now = utcnow()
    later, sooner = alice.queue(send_at=now - SECOND), alice.queue(send_at=now - 2 * SECOND)
    assert claim_ids(app) == [sooner.id, later.id]


def test_message_is_not_claimed_before_its_time(app: Flask, alice: Person) -> None:
    send_at = utcnow() + timedelta(hours=1)
    message = alice.queue(send_at=send_at)
    assert claim_ids(app) == []
    assert next_due_at(app) == send_at
    with time_machine.travel(send_at):
        assert claim_ids(app) == [message.id]


@pytest.mark.parametrize("is_simulated", [True, False])
def test_message_of_a_demo_and_one_of_a_real_installation_are_never_claimed_by_the_other(
    app: Flask, alice: Person, is_simulated: bool
) -> None:
    alice.queue()
    with app.app_context(), writing():
        db.session.execute(update(Message).values(simulated=is_simulated))
    assert len(claim_ids(app)) == (not is_simulated)


def test_number_sends_one_a_second(make_app: MakeApp) -> None:
    app = make_app()
    alice = Person.signed_in(app, "alice@example.org")
    with time_machine.travel(utcnow(), tick=False) as clock:
        ids = [alice.queue().id for _ in range(3)]
        counts = []
        for _ in range(9):
            counts.append(len(claim(app)))
            clock.shift(SECOND / 4)
        assert counts == [1, 0, 0, 0, 1, 0, 0, 0, 1]
        assert claim(app) == []
    assert len(ids) == 3


def test_messaging_service_sends_ten_a_second(make_app: MakeApp) -> None:
    app = make_app(TWILIO_MESSAGING_SERVICE_SID=SERVICE)
    alice = Person.signed_in(app, "alice@example.org")
    with time_machine.travel(utcnow(), tick=False) as clock:
        for _ in range(25):
            alice.queue(sender=SERVICE)
        clock.shift(timedelta(hours=1))  # idle times are not made up for
        assert len(claim(app, 100)) == 10
        clock.shift(SECOND / 2)
        assert len(claim(app, 100)) == 5


def test_pace_of_one_sender_holds_no_other_up(make_app: MakeApp) -> None:
    app = make_app()
    alice = Person.signed_in(app, "alice@example.org")
    with time_machine.travel(utcnow(), tick=False):
        first = [alice.queue().id, alice.queue(sender="+15005550007").id]
        alice.queue()
        assert sorted(claim_ids(app)) == first


def test_claim_of_several_senders_keeps_to_its_limit(app: Flask, alice: Person) -> None:
    for sender in (NUMBER, "+15005550007") * 2:
        alice.queue(sender=sender)
    assert len(claim(app, 3)) == 3


def test_claim_takes_no_slot_that_it_does_not_use(make_app: MakeApp) -> None:
    app = make_app(TWILIO_MESSAGING_SERVICE_SID=SERVICE)
    alice = Person.signed_in(app, "alice@example.org")
    with time_machine.travel(utcnow(), tick=False) as clock:
        alice.queue(sender=SERVICE)
        clock.shift(timedelta(hours=1))
        assert len(claim(app, 100)) == 1
        for _ in range(10):
            alice.queue(sender=SERVICE)
        assert len(claim(app, 100)) == 9


def test_batch_is_claimed_only_while_it_runs(
    app: Flask, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = alice.queue(batch_id=7)
    assert claim_ids(app) == []
    assert next_due_at(app) is None
    monkeypatch.setattr(outbox, "running_batch_ids", lambda _connection: [7])
    assert claim_ids(app) == [message.id]


def test_long_batch_leaves_turns_to_other_messages(
    app: Flask, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(10):
        alice.queue(batch_id=7)
    message = alice.queue()
    monkeypatch.setattr(outbox, "running_batch_ids", lambda _connection: [7])
    assert message.id in claim_ids(app, 2)


def test_hand_over_begins_once(app: Flask, alice: Person) -> None:
    message = alice.queue()
    [claimed] = claim(app)
    begun = begin(app, claimed)
    assert begun
    assert begun.id == message.id
    assert begin(app, claimed) is None
    stored = alice.message()
    assert stored.status == "pending"
    assert stored.handed_over_at == stored.status_at == stored.submitted_at
    assert stored.next_lookup_at == stored.status_at + SEARCH_AGES[0]
    with time_machine.travel(utcnow() + timedelta(days=1)):
        assert claim_ids(app) == []


def test_message_that_is_handed_over_meanwhile_keeps_its_times(app: Flask, alice: Person) -> None:
    alice.queue()
    begun, before = begin_next(app), alice.message()
    with app.app_context(), db.engine.begin() as connection:
        outbox.redate(connection, [begun.id], utcnow() + LEASE)
    after = alice.message()
    assert (after.status_at, after.send_at) == (before.status_at, before.send_at)


def test_hand_over_of_a_claim_begins_in_its_order_and_without_what_was_cancelled(
    app: Flask, alice: Person
) -> None:
    now = utcnow()
    ids = [alice.queue(send_at=now - number * SECOND).id for number in range(4)]
    with app.app_context(), db.engine.begin() as connection:
        claimed = outbox.claim(connection, 10, utcnow())
        assert outbox.cancel(connection, ids[1])
        begun = outbox.begin_hand_over(connection, claimed)
    assert [message.id for message in begun] == [ids[3], ids[2], ids[0]]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_hand_over_does_not_wait_for_a_message_that_somebody_changes(
    app: Flask, alice: Person
) -> None:
    changed, other = alice.queue(), alice.queue()
    claimed = claim(app)
    with app.app_context(), db.engine.begin() as editor, db.engine.begin() as connection:
        editor.execute(select(Message.id).where(Message.id == changed.id).with_for_update())
        begun = outbox.begin_hand_over(connection, claimed)
    assert [message.id for message in begun] == [other.id]


def test_hand_over_does_not_begin_after_the_claim_is_over(app: Flask, alice: Person) -> None:
    alice.queue()
    [first] = claim(app)
    with time_machine.travel(utcnow() + LEASE + SECOND):
        [second] = claim(app)
        assert begin(app, first) is None
        assert begin(app, second)


def test_message_whose_text_was_deleted_is_not_handed_over(app: Flask, alice: Person) -> None:
    alice.queue()
    [claimed] = claim(app)
    with app.app_context(), writing():
        db.session.execute(update(Message).values(content_deleted_at=utcnow()))
    assert begin(app, claimed) is None


def test_message_of_a_paused_sender_is_not_handed_over(app: Flask, alice: Person) -> None:
    message = alice.queue()
    [claimed] = claim(app)
    with app.app_context(), db.engine.begin() as connection:
        until = SenderPace.pause(connection, NUMBER, "20429", utcnow())
    assert begin(app, claimed) is None
    with app.app_context(), db.engine.begin() as connection:
        outbox.release(connection, message.id)
    assert claim_ids(app) == []
    assert next_due_at(app) == until
    with time_machine.travel(until):
        assert claim_ids(app) == [message.id]


def test_refused_message_goes_back_to_its_place(app: Flask, alice: Person) -> None:
    first, second = alice.queue(), alice.queue()
    assert put_back(app, begin_next(app))
    until = next_due_at(app)
    assert until
    message = alice.messages()[0]
    assert (message.status, message.handed_over_at, message.next_lookup_at) == (
        *("outbox", None),
        None,
    )
    [event] = alice.events(message)
    assert (event.status, event.error_code, event.source) == ("outbox", "20429", "send")
    with time_machine.travel(until + SECOND):
        assert claim_ids(app) == [first.id, second.id]


def test_repeated_refusal_stops_no_later_hand_over(app: Flask, alice: Person) -> None:
    alice.queue()
    first = begin_next(app)
    for _ in range(2):  # the commit of the first may not have been confirmed
        assert put_back(app, first)
    assert alice.message().status == "outbox"
    with time_machine.travel(utcnow() + MAX_PAUSE):
        assert begin_next(app)
        assert put_back(app, first)
    assert alice.message().status == "pending"
    assert len(alice.events(alice.message())) == 1


@pytest.mark.parametrize("changed", [{"status": "unknown"}, {"twilio_sid": "SM" + "1" * 32}])
def test_message_of_which_more_was_heard_never_goes_back(
    app: Flask, alice: Person, changed: dict[str, str]
) -> None:
    alice.queue()
    begun = begin_next(app)
    with app.app_context(), db.engine.begin() as connection:
        connection.execute(update(Message).values(**changed))
    assert not put_back(app, begun)
    assert alice.message().status != "outbox"
    assert alice.events(alice.message()) == []


def test_pauses_grow_and_one_that_lasts_stays(app: Flask) -> None:
    lengths = []
    with (
        app.app_context(),
        time_machine.travel(utcnow(), tick=False) as clock,
        db.engine.begin() as connection,
    ):
        for _ in range(10):
            now = utcnow()
            until = SenderPace.pause(connection, NUMBER, "20429", now)
            assert SenderPace.pause(connection, NUMBER, "20429", now) == until
            lengths.append(until - now)
            clock.move_to(until + SECOND)
        assert lengths[0] <= 4 * SECOND
        assert MAX_PAUSE / 2 <= lengths[-1] <= MAX_PAUSE
        clock.move_to(until + IN_ROW + SECOND)
        assert SenderPace.pause(connection, NUMBER, "20429", utcnow()) - utcnow() <= 4 * SECOND


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_sender_for_which_another_worker_claims_is_not_waited_for(
    app: Flask, alice: Person
) -> None:
    alice.queue()
    message = alice.queue(sender="+15005550007")
    with app.app_context(), db.engine.begin() as other:
        other.execute(select(SenderPace).where(SenderPace.sender == NUMBER).with_for_update())
        assert claim_ids(app) == [message.id]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_pauses_of_two_at_once_are_one(app: Flask) -> None:
    def pause() -> datetime:
        with app.app_context(), db.engine.begin() as connection:
            return SenderPace.pause(connection, NUMBER, "20429", utcnow())

    with app.app_context(), ThreadPoolExecutor(1) as thread:
        with db.engine.begin() as connection:
            SenderPace.ensure_exists(connection, NUMBER)
        with db.engine.begin() as connection:
            connection.execute(select(SenderPace.sender).with_for_update())
            other = thread.submit(pause)
            await_lock_wait()
            until = SenderPace.pause(connection, NUMBER, "20429", utcnow())
        assert other.result(30) == until


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_senders_are_paused_in_one_order(app: Flask, alice: Person) -> None:
    """Else two groups of callbacks could wait for each other."""
    senders = [f"+1500555000{number}" for number in range(9)]
    ids = [alice.queue(sender=sender).id for sender in reversed(senders)]

    def pause() -> None:
        with app.app_context(), db.engine.begin() as connection:
            outbox.pause_senders(connection, ids, "30001")

    with app.app_context(), ThreadPoolExecutor(1) as thread, db.engine.begin() as connection:
        paces = select(SenderPace.sender).order_by(SenderPace.sender)
        connection.execute(paces.limit(1).with_for_update())
        done = thread.submit(pause)
        await_lock_wait()
        free = connection.scalars(paces.with_for_update(skip_locked=True)).all()
        assert free == senders
        connection.rollback()
        done.result(30)


def test_backlog_tells_what_waits_for_its_time(app: Flask, alice: Person) -> None:
    send_at = utcnow() + timedelta(hours=1)
    first = alice.queue()
    alice.queue(send_at=send_at)
    alice.has_message(status="sent")
    with app.app_context(), db.engine.begin() as connection:
        backlog = outbox.read_backlog(connection, utcnow())
    assert (backlog.waiting, backlog.scheduled, backlog.oldest_at) == (2, 1, first.send_at)


def test_outbox_is_stuck_when_nobody_claims_for_a_sender(app: Flask, alice: Person) -> None:
    with time_machine.travel(utcnow(), tick=False) as clock:
        message = alice.queue()
        alice.queue()
        assert find_stuck_time(app) is None
        clock.shift(STUCK_AFTER + SECOND)
        assert find_stuck_time(app) == message.send_at
        claim(app, 1)  # a long queue that moves is not stuck
        assert find_stuck_time(app) is None
        clock.shift(STUCK_AFTER + SECOND)
        with app.app_context(), db.engine.begin() as connection:
            until = SenderPace.pause(connection, NUMBER, "20429", utcnow())
        assert find_stuck_time(app) is None
        clock.move_to(until + SECOND)
        assert find_stuck_time(app) is None
        clock.shift(STUCK_AFTER)
        assert find_stuck_time(app) == until


def test_message_left_behind_by_a_batch_that_ended_is_stuck(app: Flask, alice: Person) -> None:
    batch_id = ready_batch(alice, people(1))
    start(app, batch_id)
    queue(app)
    with time_machine.travel(utcnow(), tick=False) as clock:
        with app.app_context(), writing():
            batch = Batch.lock(batch_id)
            batch.state, batch.ended_at = BatchState.DONE, utcnow()
        clock.shift(STUCK_AFTER + SECOND)
        alice.queue()
        claim(app, 1)  # the sender's other messages move
        assert find_stuck_time(app) == read_batch(app, batch_id).ended_at
        with app.app_context(), writing():  # put back just now
            db.session.execute(update(Message).values(status_at=utcnow()))
        assert find_stuck_time(app) is None
