"""Finding by text where much of it fits: by the index on both databases, and counted with a cap."""

import re
import uuid
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import event, inspect

from smstracker.clock import utcnow
from smstracker.extensions import db
from smstracker.messages import filter_conditions, search, state_counts
from smstracker.messages.filter_conditions import SearchFilters
from smstracker.messages.state_counts import CappedCount
from smstracker.models import Message
from smstracker.models.messages import Content
from smstracker.sms.status import State
from smstracker.worker.maintenance import refresh_statistics
from tests.clients import Person

pytestmark = pytest.mark.both_databases


def add_campaign(app: Flask, owner_id: int, count: int) -> None:
    """Messages of one text, an hour apart; every fifth of them has failed."""
    with app.app_context():
        for number in range(count):
            at = utcnow() - timedelta(hours=number + 1)
            message = Message(
                owner_id=owner_id, idempotency_key=uuid.uuid4(), created_at=at, status_at=at
            )
            message.set_content(
                Content("+15558675310", "+15005550006", f"abcab, appointment {number}")
            )
            message.status = "undelivered" if number % 5 == 0 else "delivered"
            db.session.add(message)
        db.session.commit()


def explain_search(app: Flask, filters: SearchFilters) -> list[str]:
    """The plans of the queries that a page and its counts send to the index of texts."""
    plans: list[str] = []

    def explain_statement(connection: Any, _cursor: Any, sql: str, values: Any, *_: Any) -> None:
        if "text_grams(" in sql or "message_fts" in sql:
            explain = "EXPLAIN " if "text_grams(" in sql else "EXPLAIN QUERY PLAN "
            own = connection.connection.cursor()
            plans.append(str(own.execute(explain + sql, values).fetchall()))

    with app.app_context():
        event.listen(db.engine, "before_cursor_execute", explain_statement)
        search.find_page(filters)
        db.session.rollback()  # neither may depend on the transaction settings of the other
        state_counts.count_states(filters)
        event.remove(db.engine, "before_cursor_execute", explain_statement)
    return plans


def test_index_of_texts_is_asked_though_every_text_has_the_grams(
    app: Flask, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_campaign(app, alice.id, 60)
    with app.app_context():
        refresh_statistics()  # as the worker does on SQLite
        if db.engine.dialect.name == "postgresql":
            db.session.execute(db.text("ANALYZE"))
            db.session.commit()
    monkeypatch.setattr(search, "scan_limit", lambda _filters: 1)
    monkeypatch.setattr(state_counts, "scan_limit", lambda _filters: 10)
    plans = explain_search(app, SearchFilters(alice.id, text="abcabc"))
    assert len(plans) >= 3
    for plan in plans:
        assert "ix_message_text_grams" in plan or "VIRTUAL TABLE INDEX" in plan
        assert "Seq Scan on message_text" not in plan


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_index_of_texts_is_read_first_without_statistics(
    app: Flask, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise SQLite searches it once for every message of the owner or the period."""
    monkeypatch.setattr(search, "scan_limit", lambda _filters: 1)
    monkeypatch.setattr(state_counts, "scan_limit", lambda _filters: 10)
    add_campaign(app, alice.id, 60)
    with app.app_context():
        assert not inspect(db.engine).has_table("sqlite_stat1")
    since, until = utcnow() - timedelta(days=9), utcnow() - timedelta(minutes=1)
    for period in ({}, {"since": since, "until": until}):
        plans = explain_search(app, SearchFilters(alice.id, text="appointment 5", **period))
        assert len(plans) >= 3
        for plan in plans:
            assert re.findall(r"(?:SCAN|SEARCH) (message\w*)", plan)[0] == "message_fts"


def test_frequent_text_is_counted_among_the_newest_and_says_so(
    app: Flask, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    me = alice.id
    add_campaign(app, me, 60)
    monkeypatch.setattr(state_counts, "COUNT_CAP", 50)
    monkeypatch.setattr(filter_conditions, "TEXT_SCAN_LIMIT", 20)
    with app.app_context():
        counts = state_counts.count_states(SearchFilters(me, text="appointment"))
        assert counts[State.DELIVERED] == CappedCount(16, is_exact=False)
        assert counts[State.FAILED] == CappedCount(4, is_exact=False)
        assert str(state_counts.sum_counts(counts)) == "20+"
        # So few messages of that day that all of them are looked at.
        day = SearchFilters(
            me, text="appointment", since=utcnow() - timedelta(hours=10, minutes=30)
        )
        assert str(state_counts.sum_counts(state_counts.count_states(day))) == "10"
        rare = state_counts.count_states(SearchFilters(me, text="appointment 5"))
        assert str(state_counts.sum_counts(rare)) == "11"
