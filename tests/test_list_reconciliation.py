"""From when on the daily listing asks Twilio for what was sent."""

from collections.abc import Callable
from datetime import datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from flask import Flask

from smstracker.clock import utcnow
from tests.clients import Person
from tests.signing import sid
from tests.twilio_stub import TwilioStub, answer, listing, wire
from tests.worker_runs import HOUR, in_minutes, work

MakeApp = Callable[..., Flask]
DAY = 24 * HOUR
WEEK_OF_RECEIPTS = {"RECEIPT_WINDOW_HOURS": "168"}


def requested_dates(twilio: TwilioStub) -> list[datetime]:
    """The `DateSent>` of each listing."""
    queries = [parse_qs(urlsplit(target).query) for target in twilio.targets]
    return [datetime.fromisoformat(query["DateSent>"][0]) for query in queries]


def moment(age: timedelta) -> datetime:
    return (utcnow() - age).replace(microsecond=0)


def test_first_listing_goes_back_over_the_receipt_window(make_app: MakeApp) -> None:
    with wire(listing()) as twilio, in_minutes(0):
        work(make_app(TWILIO_API_BASE_URL=twilio.url, **WEEK_OF_RECEIPTS))
        assert requested_dates(twilio) == [moment(7 * DAY)]


def test_listing_goes_back_over_a_day_even_if_the_receipt_window_is_shorter(
    make_app: MakeApp,
) -> None:
    with wire(listing()) as twilio, in_minutes(0):
        work(make_app(TWILIO_API_BASE_URL=twilio.url, RECEIPT_WINDOW_HOURS="1"))
        assert requested_dates(twilio) == [moment(DAY + HOUR)]


def test_second_listing_goes_back_to_a_day_before_the_first(make_app: MakeApp) -> None:
    with wire(listing(), listing()) as twilio, in_minutes(0) as clock:
        app = make_app(TWILIO_API_BASE_URL=twilio.url, **WEEK_OF_RECEIPTS)
        work(app)
        clock.shift(DAY)
        work(app)
        assert requested_dates(twilio)[1] == moment(2 * DAY + HOUR)


@pytest.mark.slow
def test_clock_that_was_put_back_leaves_no_gap_between_listings(make_app: MakeApp) -> None:
    with wire(listing(), listing()) as twilio, in_minutes(0) as clock:
        app = make_app(TWILIO_API_BASE_URL=twilio.url, **WEEK_OF_RECEIPTS)
        work(app)
        clock.shift(-2 * DAY)
        work(app)
        assert requested_dates(twilio)[1] == moment(DAY + HOUR)


def test_listing_after_a_failed_day_goes_back_to_before_the_last_that_succeeded(
    make_app: MakeApp,
) -> None:
    with wire(listing(), answer(500, {}), listing()) as twilio, in_minutes(0) as clock:
        app = make_app(TWILIO_API_BASE_URL=twilio.url, **WEEK_OF_RECEIPTS)
        for _ in range(3):
            work(app)
            clock.shift(DAY)
        assert requested_dates(twilio)[2] == moment(4 * DAY + HOUR)


def test_listing_goes_back_no_further_than_the_receipt_window(make_app: MakeApp) -> None:
    with wire(listing(), listing()) as twilio, in_minutes(0) as clock:
        app = make_app(TWILIO_API_BASE_URL=twilio.url, **WEEK_OF_RECEIPTS)
        work(app)
        clock.shift(30 * DAY)
        work(app)
        assert requested_dates(twilio)[1] == moment(7 * DAY)


def test_listing_changes_no_message_of_a_demo(make_app: MakeApp, alice: Person) -> None:
    """Which cannot be Twilio's, though a listed one has its SID."""
    alice.has_message(twilio_sid=sid(1), status="sent", simulated=True)
    with wire(listing({"sid": sid(1), "status": "delivered"})) as twilio:
        work(make_app(TWILIO_API_BASE_URL=twilio.url))
    assert alice.message().status == "sent"


def test_listed_price_is_stored_once(make_app: MakeApp, alice: Person) -> None:
    alice.has_message(twilio_sid=sid(1), status="delivered", final_at=utcnow(), price_micros=7900)
    priced = {"sid": sid(1), "status": "delivered", "price": "-0.01500", "price_unit": "USD"}
    with wire(listing(priced)) as twilio:
        work(make_app(TWILIO_API_BASE_URL=twilio.url))
    assert alice.message().price_micros == 7900
