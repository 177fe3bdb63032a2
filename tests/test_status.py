"""The rank of the status words, and their display."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smstracker.sms import status
from smstracker.sms.lookup_schedule import first_lookup, next_lookup
from smstracker.sms.status import Effect, State, display_status, effects, lower_ranked, same_outcome

NOW = datetime(2026, 5, 3, 12, tzinfo=UTC)
WINDOW = timedelta(hours=72)


def show(word: str, age: timedelta = timedelta()) -> status.DisplayStatus:
    return display_status(word, NOW - age, now=NOW, receipt_window=WINDOW)


def test_ranks_follow_the_order_of_the_carrier() -> None:
    words = [
        "outbox",
        "pending",
        "unknown",
        "refused",
        "scheduled",
        "accepted",
        "queued",
        "sending",
        "sent",
        "partially_delivered",
    ]
    words += ["deleted", "failed", "delivered", "read"]
    assert sorted(words, key=status.RANK.__getitem__) == words


def test_negative_outcomes_share_a_rank_and_cancelling_is_no_failure() -> None:
    assert lower_ranked("failed") == lower_ranked("undelivered") == lower_ranked("canceled")
    assert same_outcome("failed") == same_outcome("undelivered") == ("failed", "undelivered")
    assert same_outcome("canceled") == ("canceled",)


@pytest.mark.parametrize(
    "word", ["outbox", "pending", "unknown", "refused", "unreached", "untraced"]
)
def test_every_word_of_twilio_outranks_ours(word: str) -> None:
    assert word in lower_ranked("scheduled")


def test_unknown_word_moves_nothing() -> None:
    assert lower_ranked("teleported") == ()
    assert same_outcome("teleported") == ()


@pytest.mark.parametrize(
    ("word", "label", "state"),
    [
        ("outbox", "Queued here", State.WAITING),
        ("pending", "Waiting", State.WAITING),
        ("accepted", "Waiting", State.WAITING),
        ("scheduled", "Scheduled", State.WAITING),
        ("sending", "Waiting", State.WAITING),
        ("sent", "Sent, awaiting receipt", State.WAITING),
        ("delivered", "Delivered", State.DELIVERED),
        ("read", "Read", State.DELIVERED),
        ("undelivered", "Not delivered", State.FAILED),
        ("failed", "Not delivered", State.FAILED),
        ("refused", "Not sent", State.FAILED),
        ("unreached", "Not sent", State.FAILED),
        ("untraced", "Not sent", State.FAILED),
        ("canceled", "Cancelled", State.CANCELLED),
        ("unknown", "Outcome unknown, checking", State.UNKNOWN),
        ("deleted", "Deleted at Twilio", State.UNKNOWN),
    ],
)
def test_word_has_its_label_and_state(word: str, label: str, state: State) -> None:
    assert (show(word).label, show(word).state) == (label, state)


def test_sent_is_shown_as_no_receipt_after_the_receipt_window() -> None:
    assert show("sent", WINDOW).state is State.WAITING
    late = show("sent", WINDOW + timedelta(seconds=1))
    assert (late.label, late.state) == ("Sent, no receipt", State.NO_RECEIPT)


def test_pending_is_shown_as_unknown_after_two_minutes() -> None:
    assert show("pending", timedelta(minutes=3)).state is State.UNKNOWN


@pytest.mark.parametrize("age", [timedelta(minutes=3), WINDOW * 2])
def test_message_in_the_outbox_is_shown_as_queued_however_long_it_waits(age: timedelta) -> None:
    assert show("outbox", age) == status.DisplayStatus("Queued here", "neutral", State.WAITING)
    assert status.display_changes_at("outbox", NOW - age, WINDOW) is None


@given(st.sampled_from(sorted(status.RANK)), st.timedeltas(timedelta(), timedelta(days=400)))
def test_only_a_silent_word_is_shown_otherwise_with_time(word: str, age: timedelta) -> None:
    limit = status.silence_limit(word, WINDOW)
    is_silent = limit is not None and age > limit
    assert (show(word, age) != show(word)) is is_silent
    assert (limit is None) is (word not in ("pending", "sent", "partially_delivered"))


@given(st.timedeltas(timedelta(), timedelta(days=400)))
def test_message_in_the_outbox_is_never_looked_up(age: timedelta) -> None:
    assert first_lookup("outbox", NOW - age) is None
    assert next_lookup("outbox", NOW - age, now=NOW, receipt_window=WINDOW) is None


def test_every_word_has_a_state_and_counts_once() -> None:
    counted = [word for state in State for word in status.counted_statuses(state)]
    assert sorted(counted) == sorted(status.RANK)


def test_label_quotes_a_word_that_is_new() -> None:
    assert "teleported" in status.label("teleported")
    assert status.label("sent") == "Sent"
    assert status.label("delivered") == "Delivered"


@pytest.mark.parametrize(
    ("events", "last"),
    [
        ([("queued", None), ("sent", None)], Effect.MOVED),
        ([("delivered", None), ("sent", None)], Effect.LATE),
        ([("sent", None), ("sent", None)], Effect.REPEATED),
        ([("failed", None), ("failed", "30008")], Effect.MOVED),
        ([("failed", "30008"), ("delivered", None)], Effect.CONFLICTING),
        ([("delivered", None), ("undelivered", "30005")], Effect.CONFLICTING),
        ([("delivered", None), ("failed", "30008"), ("delivered", None)], Effect.REPEATED),
        ([("sent", None), ("teleported", None)], Effect.UNKNOWN_WORD),
        ([("teleported", None), ("sent", None)], Effect.MOVED),
    ],
)
def test_effect_of_the_last_event(events: list[tuple[str, str | None]], last: Effect) -> None:
    assert effects(events)[-1] is last
