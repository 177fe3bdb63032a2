"""From when on the daily listing asks Twilio for what was sent."""

from collections.abc import Callable
from datetime import datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from flask import Flask

from smstracker.clock import utcnow
from tests.twilio_stub import TwilioStub, answer, listing, wire
from tests.worker_runs import HOUR, in_minutes, work

pytestmark = pytest.mark.both_databases


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
