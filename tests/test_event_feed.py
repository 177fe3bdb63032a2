"""The feed of status events: no reader misses one that commits late, on both databases."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from flask import Flask
from sqlalchemy import Connection, insert, select

from smstracker.extensions import db
from smstracker.models import FeedCursor, StatusEvent, event_feed
from smstracker.models.event_feed import EventTail, read_cursor, settled_position
from smstracker.models.events import StatusUpdate
from smstracker.sms.status import Source

on_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
UPDATE = StatusUpdate("sent", Source.CALLBACK, {}).row()


@contextmanager
def connect(app: Flask) -> Iterator[Connection]:
    with app.app_context(), db.engine.connect() as connection:
        yield connection


def add_events(connection: Connection, number: int = 1) -> None:
    connection.execute(insert(StatusEvent), [UPDATE] * number)


def commit_events(app: Flask, number: int = 1) -> None:
    with connect(app) as connection:
        add_events(connection, number)
        connection.commit()


def roll_back_events(app: Flask, number: int = 1) -> None:
    """On PostgreSQL, leave ids that never appear."""
    with connect(app) as connection:
        add_events(connection, number)


def read(app: Flask, tail: EventTail, limit: int = 100) -> list[int]:
    with connect(app) as connection:
        return [row[0] for row in tail.read(connection, select(StatusEvent.id), limit)]


def position(app: Flask) -> int:
    with connect(app) as connection:
        return settled_position(connection)


def test_events_are_read_once_in_order(app: Flask) -> None:
    tail = EventTail(0)
    assert read(app, tail) == []
    commit_events(app, 3)
    assert read(app, tail, limit=2) == [1, 2]
    assert read(app, tail) == [3]
    assert read(app, tail) == []
    assert tail.position == position(app) == 3


@on_postgresql
def test_late_commit_is_read_and_no_position_is_above_it(app: Flask) -> None:
    tail = EventTail(0)
    with connect(app) as late:
        add_events(late)
        commit_events(app, 2)
        for events in ([2, 3], [], []):
            assert read(app, tail) == events
            assert (tail.newest_id, tail.position, position(app)) == (3, 0, 0)
        commit_events(app)
        assert read(app, tail) == [4]
        late.commit()
    assert read(app, tail) == [1]
    assert tail.position == position(app) == 4


@on_postgresql
def test_late_commit_of_many_events_is_read_in_parts(app: Flask) -> None:
    tail = EventTail(0)
    with connect(app) as late:
        add_events(late, 5)
        commit_events(app)
        assert read(app, tail) == [6]
        late.commit()
    for events, settled in (([1, 2], 2), ([3, 4], 4), ([5], 6)):
        assert read(app, tail, limit=2) == events
        assert tail.position == settled


@on_postgresql
def test_rolled_back_event_is_given_up_when_its_transaction_must_have_ended(app: Flask) -> None:
    tail = EventTail(0)
    roll_back_events(app)
    commit_events(app)
    with connect(app) as other:
        add_events(other)
        # A transaction that writes might still add event 1, for all that a reader knows.
        for _ in range(3):
            read(app, tail)
            assert tail.position == position(app) == 0
        with connect(app) as newer:
            # Began to write after event 1 was missed, so it cannot add it.
            add_events(newer)
            other.rollback()
            read(app, tail)
            assert tail.position == 2
        assert position(app) == 2


@on_postgresql
def test_position_goes_on_from_the_furthest_cursor(app: Flask) -> None:
    roll_back_events(app)
    commit_events(app, 2)
    with connect(app) as other:
        add_events(other)
        assert position(app) == 0
        with connect(app) as connection:
            create_cursor(connection, 2)
            connection.commit()
        commit_events(app)
        assert position(app) == 3


@on_postgresql
def test_position_of_readers_far_behind_is_looked_for_among_the_newest_events(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_feed, "MAX_SCANNED_EVENTS", 3)
    roll_back_events(app)
    commit_events(app, 3)
    with connect(app) as other:
        add_events(other)
        assert position(app) == 4


def create_cursor(connection: Connection, position: int) -> None:
    row = {"name": "reader", "position": position, "version": 0}
    connection.execute(insert(FeedCursor).values(row))


def test_only_one_of_two_processes_moves_a_cursor(app: Flask) -> None:
    with connect(app) as connection:
        create_cursor(connection, 1)
        first = second = read_cursor(connection, "reader")
        assert first.advance(connection, 3)
        assert not second.advance(connection, 4)
        moved = read_cursor(connection, "reader")
        assert (moved.position, moved.version) == (3, 1)
        assert moved.advance(connection)
        assert read_cursor(connection, "insights").position == 0
