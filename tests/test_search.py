"""Finding messages in the log: filters against a plain reference, handles, paging, export."""

import csv
import io
import itertools
import random
import re
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
import time_machine
from flask import Flask
from markupsafe import escape

from smstracker.clock import utcnow
from smstracker.database.case_folding import CAPITALS, TYPOGRAPHIC, fold_text
from smstracker.extensions import db
from smstracker.messages import filter_conditions, log_export, search, state_counts
from smstracker.messages.filter_conditions import NO_CODE, SearchFilters, matching_messages
from smstracker.messages.state_counts import CappedCount
from smstracker.models import Message
from smstracker.models.messages import Content
from smstracker.sms.gsm_replacements import LOOK_ALIKE
from smstracker.sms.status import Source, State
from tests.clients import Person, words

pytestmark = pytest.mark.both_databases


SERVICE = "MG" + "1" * 32
TEXTS = ["Grüße, ÉCOLE!", 'say "50%_off" \\o/', "شكرا جزيلا 👍🏽", "plain text", "STRASSE Straße"]


def fill(app: Flask, owner_id: int, count: int = 60) -> None:
    now = utcnow()
    statuses = ["delivered", "sent", "undelivered", "queued", "pending", "refused"]
    with app.app_context():
        for n in range(count):
            at = now - timedelta(hours=n * 3)
            message = Message(
                owner_id=owner_id, idempotency_key=uuid.uuid4(), created_at=at, status_at=at
            )
            sender = SERVICE if n % 7 == 0 else f"+1500555000{n % 3}"
            message.set_content(Content(f"+1555867{5300 + n % 4 * 110:04d}", sender, TEXTS[n % 5]))
            message.status = statuses[n % 6]
            message.error_code = "30003" if n % 6 == 2 else None
            message.status_source = (None, "send", "callback", "lookup")[n % 4]
            db.session.add(message)
        db.session.commit()


def matches(message: Message, filters: SearchFilters, now: datetime) -> bool:
    return (
        (filters.state is None or message.display_status(now).state is filters.state)
        and (filters.error_code is None or (message.error_code or NO_CODE) == filters.error_code)
        and (
            filters.sender is None
            or filters.sender in (message.sender, message.messaging_service_sid)
        )
        and (filters.source is None or message.status_source == filters.source)
        and (filters.since is None or message.created_at >= filters.since)
        and (filters.until is None or message.created_at < filters.until)
        and (filters.text is None or fold_text(filters.text) in fold_text(message.body))
        and (filters.digits is None or message.recipient.endswith(filters.digits))
    )


@pytest.mark.slow
def test_every_combination_of_filters_finds_what_a_plain_search_finds(
    app: Flask, alice: Person, bob: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(app, alice.id)
    fill(app, bob.id, 20)
    me = alice.id
    messages, now, matching_filters = alice.messages(), utcnow(), 0
    # So that one index after the other is asked, and that of texts.
    monkeypatch.setattr(search, "scan_limit", lambda _filters: 3)
    with app.app_context(), time_machine.travel(now, tick=False):
        for arguments in combinations(now):
            filters = SearchFilters(me, **arguments)  # type: ignore[arg-type]
            expected = [
                message.id for message in reversed(messages) if matches(message, filters, now)
            ]
            expected.sort()
            for size in (100, 4) if len(expected) >= 4 else (100,):
                page = search.find_page(filters, size=size)
                assert [one.id for one in page] == expected[:size], filters
            if filters.state:
                counts = state_counts.count_states(filters)
                assert counts[filters.state] == CappedCount(len(expected)), filters
            matching_filters += bool(expected)
    assert matching_filters > 20


def combinations(now: datetime) -> list[dict[str, object]]:
    """Each filter alone, each two values together, and some of more, always the same ones."""
    values: dict[str, tuple[object, ...]] = {
        "state": (State.NO_RECEIPT, State.FAILED, State.UNKNOWN),
        "error_code": ("30003", NO_CODE),
        "sender": (SERVICE, "+15005550001"),
        "source": (Source.CALLBACK, Source.LOOKUP),
        "since": (now - timedelta(days=4),),
        "text": ("straße", "50%_"),
        "digits": ("300",),
    }
    pairs = [(name, value) for name, choices in values.items() for value in choices]
    filter_sets = [dict([pair]) for pair in pairs]
    filter_sets += [
        {first[0]: first[1], second[0]: second[1]}
        for first, second in itertools.combinations(pairs, 2)
        if first[0] != second[0]
    ]
    chance = random.Random(1)
    for _ in range(12):
        names = chance.sample(list(values), chance.randint(3, 5))
        filter_sets.append({name: chance.choice(values[name]) for name in names})
    return [{}, *filter_sets]


@pytest.mark.both_databases(every_case=True)
@pytest.mark.parametrize(
    ("term", "count"),
    [
        *(("GRÜSSE", 0), ("grüße", 1), ("école", 1), ('"50%_', 1), ("\\O/", 1), ("0%x", 0)),
        *(("جزيلا", 1), ("ا 👍🏽", 1), ("AIN TEX", 1), ("' OR", 0), ("STRASSE", 1)),
    ],
)
def test_text_is_found_as_it_is_on_both_databases(
    app: Flask, alice: Person, term: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(app, alice.id, 5)
    if len(term) < 3:
        assert alice.get("/messages.json", query_string={"text": term}).status_code == 422
        return
    for limit in (2_000, 1):
        monkeypatch.setattr(filter_conditions, "TEXT_SCAN_LIMIT", limit)
        listing = alice.get("/messages.json", query_string={"text": term}).json
        assert len(listing["messages"]) == count  # type: ignore[index]


def test_capitals_are_folded_alike_everywhere(app: Flask, alice: Person) -> None:
    alice.has_message(body=CAPITALS)
    me = alice.id
    with app.app_context():
        assert db.session.scalar(db.select(db.func.fold_text(CAPITALS))) == fold_text(CAPITALS)
        matches = matching_messages(SearchFilters(me, text=fold_text(CAPITALS)))
        assert len(db.session.execute(db.select(matches.id)).all()) == 1


def test_search_and_composer_agree_on_plain_quotes_and_spaces() -> None:
    """The search leaves tabs and two primes as they are, which nobody types for a quote."""
    plain = {c: LOOK_ALIKE[c] for c in LOOK_ALIKE if LOOK_ALIKE[c] in ("'", '"', " ")}
    folded = {character: fold_text(character) for character in {*plain, *TYPOGRAPHIC}}
    assert folded == plain | {character: character for character in "\t\u02b9\u2035"}


def test_typed_number_is_in_no_address(app: Flask, alice: Person) -> None:
    fill(app, alice.id)
    form = {"number": "(555) 867-5300", "text": "plain", "period": "30d", "zone": "Europe/Paris"}
    answer = alice.post("/messages/filter", form, page="/messages")
    assert answer.status_code == 303
    page = alice.get(answer.location).text
    addresses = [answer.location, *re.findall(r'(?:href|action)="([^"]+)"', page)]
    # As many digits as no id has by chance.
    assert not any("8675300" in re.sub(r"\D", "", address) for address in addresses)
    assert "To +1 555-867-5300" in words(page)
    assert "Remove filter Text contains “plain”" in words(page)
    again = alice.post("/messages/filter", form, page="/messages")
    assert again.location == answer.location


def test_handle_of_another_is_refused(alice: Person, bob: Person) -> None:
    alice.has_message()
    response = alice.post("/messages/filter", {"number": "5310"}, page="/messages").location
    assert len(alice.get(response.replace("messages", "messages.json")).json["messages"]) == 1  # type: ignore[index]
    refusal = bob.get(response)
    assert refusal.status_code == 422
    assert "This is no search of yours." in refusal.text


@pytest.mark.parametrize(
    ("typed", "problem"),
    [
        ({"text": "ab"}, "at least 3 characters"),
        ({"number": "12"}, "at least the last 3 digits"),
        ({"period": "custom", "from": "yesterday"}, "Type each day like"),
        ({"error": "3000<3"}, "An error code is a number"),
        ({"sender": "<b>"}, "not a sender"),
        ({"source": "rumour"}, "send, callback or lookup"),
    ],
)
def test_bad_filter_is_explained_and_nothing_typed_is_lost(
    alice: Person, typed: dict[str, str], problem: str
) -> None:
    alice.has_message()
    answer = alice.post("/messages/filter", {"zone": "UTC", **typed}, page="/messages")
    assert answer.status_code == 422
    assert problem in words(answer.text)
    values = [value for name, value in typed.items() if name != "source"]
    assert all(f'value="{escape(value)}"' in answer.text for value in values)


def test_paging_goes_both_ways_while_messages_arrive(app: Flask, alice: Person) -> None:
    fill(app, alice.id, 120)
    first_page = alice.get("/messages").text
    assert 'class="newer"' not in first_page
    second_page = alice.get(link(first_page, "older")).text
    alice.has_message()
    back = alice.get(link(second_page, "newer")).text
    assert re.findall(r'data-id="([^"]+)"', back) == re.findall(r'data-id="([^"]+)"', first_page)
    assert 'data-id="' in alice.get(link(back, "newer")).text


def link(page: str, name: str) -> str:
    match = re.search(rf'class="{name}" href="([^"]+)"', page)
    assert match, name
    return match[1].replace("&amp;", "&")


def test_export_holds_what_is_filtered_and_no_formula(app: Flask, alice: Person) -> None:
    fill(app, alice.id)
    alice.has_message(body="=1+1", status="undelivered")
    answer = alice.get("/messages/export.csv?state=failed")
    assert "messages-20" in answer.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.text.removeprefix("\ufeff"))))
    in_csv = [row["id"] for row in rows]
    for path in ("/messages.json", "/messages/export.json"):
        listed = alice.get(f"{path}?state=failed").json["messages"]  # type: ignore[index]
        assert [message["id"] for message in listed] == in_csv
    assert all(row["recipient"].startswith("+1555867") for row in rows)
    assert "'=1+1" in [row["text"] for row in rows]


def test_export_is_made_in_batches_one_for_each_user(
    app: Flask, alice: Person, bob: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_export, "BATCH_SIZE", 7)
    fill(app, alice.id, 30)
    assert len(alice.get("/messages/export.json").json["messages"]) == 30  # type: ignore[index]
    assert not log_export._slots._owners, "a finished export holds no place"
    log_export._slots.take(alice.id, limit=1)
    assert "Your other export" in alice.get("/messages/export.csv").text
    assert bob.get("/messages/export.csv").status_code == 200
    log_export._slots.release(alice.id)
    assert alice.get("/messages/export.csv").status_code == 200


def test_few_exports_are_made_at_once(make_app: Callable[..., Flask]) -> None:
    app = make_app(WEB_THREADS="8")
    ann, ben = (Person.signed_in(app, f"{name}@example.org") for name in ("ann", "ben"))
    log_export._slots.take(ann.id, limit=1)
    refused = ben.get("/messages/export.csv")
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "60")
    assert "Too many exports" in refused.text
    log_export._slots.release(ann.id)


def test_count_beyond_the_cap_says_so() -> None:
    assert str(CappedCount(9_999) + CappedCount(5)) == "10,000+"
    assert str(CappedCount(1_234)) == "1,234"
