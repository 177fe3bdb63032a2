"""Exports while they are made: time passes, readers stall, the database goes away."""

import csv
import io
import json
from datetime import timedelta

import pytest
import time_machine
from flask import Flask

from smstracker.clock import utcnow
from smstracker.dashboard import exporting
from smstracker.models import log
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


def test_export_that_breaks_off_does_not_look_whole(
    app: Flask, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        alice.has_message()
    monkeypatch.setattr(exporting, "BATCH", 2)
    real = log.page

    def once(*args: object, **named: object) -> object:
        if named["before"]:
            raise ConnectionError
        return real(*args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(log, "page", once)
    for kind in ("csv", "json"):
        pieces: list[bytes] = []
        answer = alice.client.get(f"/messages/export.{kind}", buffered=False)
        with pytest.raises(ConnectionError):
            pieces.extend(answer.iter_encoded())
        answer.close()
        got = b"".join(pieces).decode("utf-8-sig")
        if kind == "csv":
            rows = list(csv.reader(io.StringIO(got)))
            assert len(rows) == 4
            assert rows[-1] == [exporting.BROKEN_OFF]
        else:
            with pytest.raises(json.JSONDecodeError):
                json.loads(got)
    assert not exporting._slots._owners, "a broken export holds no place"
