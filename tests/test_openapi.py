"""The answers for programs are what static/openapi.yaml says, whatever is asked."""

from pathlib import Path
from typing import Any

import hypothesis
import pytest
import schemathesis
from flask import Flask
from hypothesis import strategies
from schemathesis import GenerationMode

from smstracker.messages import log_export
from tests.clients import Person

pytestmark = pytest.mark.slow


FILE = Path(__file__).parent.parent / "smstracker" / "static" / "openapi.yaml"
PATHS = ("/messages.json", "/messages/export.json", "/messages/export.csv")
schemathesis.openapi.format("time-zone", strategies.sampled_from(["UTC", "Asia/Kolkata"]))


def described() -> dict[str, Any]:
    return dict(schemathesis.openapi.from_path(FILE).raw_schema)


def cookie_of(person: Person) -> dict[str, str]:
    cookie = person.client.get_cookie("__Host-session", domain="sms.example.org")
    assert cookie
    return {cookie.key: cookie.value}


def is_told(query: dict[str, Any], mode: GenerationMode) -> bool:
    """Whether OpenAPI has words for it; it has none for how the arguments of a period belong
    together, for one that is blank, nor for which handles there are.
    """
    if mode is GenerationMode.POSITIVE and "recipient" in query:
        return False
    if mode is GenerationMode.POSITIVE and not all(str(v).strip() for v in query.values()):
        return False
    days = [str(query[name]) for name in ("from", "to") if query.get(name)]
    if query.get("period", "custom") != "custom":
        return not days
    if mode is GenerationMode.NEGATIVE:
        return True
    if not days and "period" in query:
        return False
    return days == sorted(days) and all("1900" < day < "9000" for day in days)


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
@pytest.mark.parametrize("path", PATHS)
def test_answers_are_as_described(
    app: Flask, alice: Person, path: str, mode: GenerationMode
) -> None:
    alice.has_message(status="undelivered", error_code="30003")
    # A session of nobody is tested below; here it would take the place of every other mistake.
    signed_in = {} if mode is GenerationMode.POSITIVE else {"security": []}
    schema = schemathesis.openapi.from_dict(described() | signed_in)
    schema.app = app
    cookies, seen = cookie_of(alice), set()

    @hypothesis.settings(max_examples=25, deadline=None, database=None, derandomize=True)
    @hypothesis.given(case=schema[path]["GET"].as_strategy(generation_mode=mode))
    def check(case: Any) -> None:
        hypothesis.assume(is_told(case.query, mode))
        response = case.call(cookies=cookies)
        seen.add(response.status_code)
        case.validate_response(response)

    check()
    assert seen & ({200} if mode is GenerationMode.POSITIVE else {404, 422})


@pytest.mark.smoke
def test_every_error_of_the_interface_is_told_in_json(
    app: Flask, alice: Person, client: Any
) -> None:
    stranger = "before=00000000-0000-4000-8000-000000000000"
    for path in PATHS:
        found = {
            401: client.get(path),
            405: alice.client.delete(path),
            422: alice.get(f"{path}?state=lost"),
        }
        for code, answer in found.items():
            assert answer.status_code == code, (path, code)
            assert list(answer.json) == ["error"], (path, code)  # type: ignore[arg-type]
    answer = alice.get(f"/messages.json?{stranger}")
    assert answer.status_code == 404
    assert answer.json["error"]  # type: ignore[index]
    assert alice.get("/messages.json?stat=failed").status_code == 422
    assert alice.get("/messages.json?state=failed&state=waiting").status_code == 422
    assert alice.get("/messages.json?recipient=%00").status_code == 422


@pytest.mark.smoke
def test_columns_of_an_export_are_those_described() -> None:
    message = described()["components"]["schemas"]["Message"]
    assert tuple(message["required"]) == log_export.COLUMNS
    assert tuple(message["properties"]) == log_export.COLUMNS


@pytest.mark.smoke
def test_description_has_a_stable_address(client: Any) -> None:
    with client.get("/static/openapi.yaml") as answer:
        assert answer.text == FILE.read_text()
