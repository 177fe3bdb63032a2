"""Exports while they are made: time passes, readers stall, the database goes away."""

import csv
import io
from datetime import timedelta

import time_machine
from flask import Flask

from smstracker.clock import utcnow
from tests.people import Person


def test_export_and_its_rows_reckon_silence_at_one_moment(app: Flask, alice: Person) -> None:
    alice.has_message(status="sent")
    almost = utcnow() + timedelta(hours=71, minutes=59)
    for state, count in (("no-receipt", 0), ("waiting", 1)):
        with time_machine.travel(almost, tick=False) as clock:
            answer = alice.client.get(f"/messages/export.csv?state={state}", buffered=False)
            pieces = [next(answer.iter_encoded())]
            clock.shift(timedelta(hours=1))
            pieces += answer.iter_encoded()
        rows = list(csv.DictReader(io.StringIO(b"".join(pieces).decode("utf-8-sig"))))
        assert [row["state"] for row in rows] == [state] * count
