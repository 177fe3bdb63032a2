"""How many threads may wait for an outside party."""

from collections.abc import Callable
from contextlib import ExitStack

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from smstracker.carrier import TooManyRequestsError, current_carrier
from smstracker.web.waiting_threads import WaitingThreads
from tests.clients import Person

pytestmark = pytest.mark.both_databases


def waiting(app: Flask) -> WaitingThreads:
    threads: WaitingThreads = app.extensions["waiting_threads"]
    return threads


@pytest.mark.both_databases(every_case=True)
@pytest.mark.parametrize("path", ["/messages/stream", "/messages/export.csv"])
def test_response_that_waits_for_its_reader_counts_until_it_is_closed(
    app: Flask, alice: Person, path: str
) -> None:
    answer: TestResponse = alice.client.get(path, buffered=False)
    assert (answer.status_code, waiting(app).count) == (200, 1)
    answer.close()
    assert waiting(app).count == 0
    alice.client.head(path).close()
    assert waiting(app).count == 0


def test_hand_over_to_twilio_counts_until_it_ends(app: Flask) -> None:
    with app.app_context(), current_carrier().limit_requests():
        assert waiting(app).count == 1
    assert waiting(app).count == 0


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_quarter_of_the_threads_waits_for_nobody(make_app: Callable[..., Flask]) -> None:
    """Streams, exports and hand-overs together; each kind alone has room left."""
    app = make_app(WEB_THREADS="16")
    alice, bob = (Person.signed_in(app, f"{name}@example.org") for name in ("alice", "bob"))
    streams = [alice.client.get("/messages/stream", buffered=False) for _ in range(4)]
    assert [waiting(app).enter() for _ in range(9)] == [True] * 8 + [False]
    with app.app_context():
        for _ in range(20):
            with pytest.raises(TooManyRequestsError), current_carrier().limit_requests():
                pass
    assert bob.get("/messages/stream").status_code == 503
    refused = bob.get("/messages/export.csv")
    assert (refused.status_code, "Too many wait" in refused.text) == (503, True)
    assert waiting(app).count == 12
    streams.pop().close()
    again = bob.client.get("/messages/export.csv", buffered=False)
    assert again.status_code == 200, "it has kept no slot"
    for answer in (*streams, again):
        answer.close()
    assert waiting(app).count == 8
    with app.app_context(), current_carrier().limit_requests():
        assert waiting(app).count == 9


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_stream_for_which_there_is_no_room_does_not_wait(make_app: Callable[..., Flask]) -> None:
    app = make_app(WEB_THREADS="4")
    alice = Person.signed_in(app, "alice@example.org")
    stream = alice.client.get("/messages/stream", buffered=False)
    for _ in range(3):
        assert alice.get("/messages/stream").status_code == 503
    assert waiting(app).count == 1
    stream.close()
    assert waiting(app).count == 0


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_form_blames_twilio_only_if_hand_overs_fill_their_half(
    make_app: Callable[..., Flask],
) -> None:
    app = make_app(WEB_THREADS="8")
    alice = Person.signed_in(app, "alice@example.org")
    for _ in range(6):
        waiting(app).enter()
    crowded = alice.send()
    assert crowded.status_code == 503
    assert "Twilio answers slowly" not in crowded.text
    assert "Too many pages and exports are open" in crowded.text
    for _ in range(6):
        waiting(app).leave()
    with app.app_context(), ExitStack() as slots:
        for _ in range(4):
            slots.enter_context(current_carrier().limit_requests())
        assert "Twilio answers slowly" in alice.send().text
    assert alice.messages() == []
