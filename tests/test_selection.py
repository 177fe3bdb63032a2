"""`make test` and `make test-slow` run each test once between them."""

import re
from itertools import product

import pytest

from config import ROOT


@pytest.mark.parametrize(("slow", "smoke"), list(product([True, False], repeat=2)))
def test_every_test_is_run_by_one_of_both_commands(slow: bool, smoke: bool) -> None:
    expressions = re.findall(r'-m "(.+)"', (ROOT / "Makefile").read_text())
    names = {"slow": slow, "smoke": smoke}
    assert [eval(expression, names.copy()) for expression in expressions].count(True) == 1
    assert len(expressions) == 2


def test_second_run_on_postgresql_is_slow(
    request: pytest.FixtureRequest, database_url: str
) -> None:
    is_slow = request.node.get_closest_marker("slow") is not None
    assert is_slow is database_url.startswith("postgresql")


@pytest.mark.both_databases
def test_second_run_is_ordinary_where_databases_matter(
    request: pytest.FixtureRequest, database_url: str
) -> None:
    assert request.node.get_closest_marker("slow") is None


@pytest.mark.both_databases
@pytest.mark.parametrize("number", [1, 2])
def test_second_run_is_ordinary_for_the_first_case(
    request: pytest.FixtureRequest, database_url: str, number: int
) -> None:
    is_slow = request.node.get_closest_marker("slow") is not None
    assert is_slow is (database_url.startswith("postgresql") and number == 2)


@pytest.mark.both_databases(every_case=True)
@pytest.mark.parametrize("number", [1, 2])
def test_second_run_is_ordinary_for_every_case_where_all_matter(
    request: pytest.FixtureRequest, database_url: str, number: int
) -> None:
    assert request.node.get_closest_marker("slow") is None


@pytest.mark.long
def test_long_tests_begin_before_all_others(request: pytest.FixtureRequest) -> None:
    before = request.session.items[: request.session.items.index(request.node)]
    assert all(item.get_closest_marker("long") for item in before)
