"""The API is what api/openapi.yaml says, whatever is asked of it."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import schemathesis
from flask import Flask
from hypothesis import strategies
from schemathesis import GenerationMode

from smstracker.api import problem_kinds
from smstracker.api.request_parts import MAX_WAIT_SECONDS
from smstracker.batches.table import MAX_COLUMNS, MAX_ROWS
from smstracker.models.batches import COLUMN_NAME_LENGTH
from smstracker.models.messages import REFERENCE_LENGTH
from smstracker.web import problem_details
from smstracker.web.problem_details import Problem
from tests.batches import people, read_batch, ready_batch
from tests.clients import Person
from tests.programs import Program

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
FILE = ROOT / "smstracker" / "api" / "openapi.yaml"
DOCUMENTATION = ROOT / "docs" / "api.md"
OPERATIONS = (
    ("/messages", "POST"),
    ("/messages", "GET"),
    ("/messages/{id}", "GET"),
    ("/messages/{id}/events", "GET"),
    ("/recipient-searches", "POST"),
    ("/batches", "POST"),
    ("/batches/{id}", "GET"),
)
NUMBERS = strategies.sampled_from(["+15558675310", "(555) 867-5310", "+442079460018"])
TEXTS = strategies.text(strategies.characters(codec="utf-8", exclude_categories=("Cc",)))
schemathesis.openapi.format("time-zone", strategies.sampled_from(["UTC", "Asia/Kolkata"]))


def described() -> dict[str, Any]:
    return copy.deepcopy(schemathesis.openapi.from_path(FILE).raw_schema)


def is_told(query: dict[str, Any], mode: GenerationMode) -> bool:
    """Whether OpenAPI has words for it: not for how the arguments of a period belong together, for
    one that is blank, nor for which messages and handles there are.
    """
    if mode is GenerationMode.POSITIVE and query.keys() & {"recipient", "batch", "before", "after"}:
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


def make_valid(body: dict[str, Any], number: str, text: str) -> None:
    """Give a generated body what no schema can say: a number, a sender, an address, a time."""
    if "number" in body:
        body["number"] = number
        return
    if "rows" in body:
        body |= {"rows": [{"to": number, "name": "Ann"}], "text": f"x{text.replace('(', '')}"}
        for name in ("from", "name", "start_count"):
            body.pop(name, None)
        return
    body |= {"to": number, "text": f"x{text}"}
    for name in ("from", "media_urls", "send_at", "reference"):
        body.pop(name, None)


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_answers_are_as_described(
    make_app: Callable[..., Flask], path: str, method: str, mode: GenerationMode
) -> None:
    app = make_app(SEND_LIMIT_PER_MINUTE="1000")
    alice = Person.signed_in(app, "alice@example.org")
    message = alice.has_message(status="undelivered", error_code="30003")
    batch_id = read_batch(app, ready_batch(alice, people(2, "1,Bad"))).public_id
    # Tokens are tested elsewhere; here a wrong one would take the place of all other mistakes.
    schema = schemathesis.openapi.from_dict(described() | {"security": []})
    schema.app = app
    program, seen = Program(app), set()
    is_positive = mode is GenerationMode.POSITIVE

    @hypothesis.settings(max_examples=25, deadline=None, database=None, derandomize=True)
    @hypothesis.given(
        case=schema[path][method].as_strategy(generation_mode=mode), number=NUMBERS, text=TEXTS
    )
    def check(case: Any, number: str, text: str) -> None:
        hypothesis.assume(is_told(case.query or {}, mode))
        if is_positive and "id" in (case.path_parameters or {}):
            is_batch = path.startswith("/batches")
            case.path_parameters["id"] = str(batch_id if is_batch else message.public_id)
        if is_positive and method == "POST":
            make_valid(case.body, number, text)
        if is_positive and "wait" in (case.query or {}):
            case.query["wait"] = 1
        response = case.call(headers={**program.headers, **dict(case.headers or {})})
        seen.add(response.status_code)
        case.validate_response(response)

    check()
    assert seen & ({200, 202} if is_positive else {400, 404, 422, 415}), seen


@pytest.mark.smoke
def test_description_names_every_route_and_nothing_else(app: Flask) -> None:
    routes = {
        (rule.rule.removeprefix("/api/v1").replace("<uuid:public_id>", "{id}"), method)
        for rule in app.url_map.iter_rules()
        if rule.endpoint.startswith("api.") and rule.endpoint != "api.description"
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    paths = described()["paths"]
    assert routes == {
        (path, method.upper())
        for path, operations in paths.items()
        for method in operations
        if method != "parameters"
    }


@pytest.mark.smoke
def test_fields_of_a_message_are_those_described(app: Flask) -> None:
    message = described()["components"]["schemas"]["Message"]
    sent = Program(app).send().json
    assert set(message["required"]) == set(message["properties"]) == set(sent)


@pytest.mark.smoke
def test_limits_are_those_described() -> None:
    description = described()
    schemas = description["components"]["schemas"]
    [wait] = description["paths"]["/messages/{id}"]["get"]["parameters"]
    rows = schemas["NewBatch"]["properties"]["rows"]
    assert wait["schema"]["maximum"] == MAX_WAIT_SECONDS
    assert schemas["NewMessage"]["properties"]["reference"]["maxLength"] == REFERENCE_LENGTH
    assert schemas["NewBatch"]["properties"]["start_count"]["maximum"] == MAX_ROWS
    assert (rows["maxItems"], rows["items"]["maxProperties"]) == (MAX_ROWS, MAX_COLUMNS)
    assert rows["items"]["propertyNames"]["maxLength"] == COLUMN_NAME_LENGTH


@pytest.mark.smoke
def test_description_is_served_without_a_token(app: Flask) -> None:
    answer = app.test_client().get("/api/v1/openapi.yaml")
    assert answer.data == FILE.read_bytes()
    assert answer.content_type == "application/yaml"


@pytest.mark.smoke
def test_every_code_is_documented() -> None:
    text = DOCUMENTATION.read_text()
    for module in (problem_kinds, problem_details):
        for problem in vars(module).values():
            if isinstance(problem, Problem):
                assert f"| {problem.status} | `{problem.code}` |" in text, problem.code
