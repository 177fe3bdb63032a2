"""Marks on guards and views: which endpoints are pages for people who are signed in."""

from collections.abc import Callable
from typing import Any, TypeVar

from flask import Flask

Function = TypeVar("Function", bound=Callable[..., Any])

_GUARD, _FOR_PROGRAMS = "_is_sign_in_guard", "_is_for_programs"


def sign_in_guard(guard: Function) -> Function:
    """Mark what a blueprint asks before each request when its pages are for signed-in people."""
    setattr(guard, _GUARD, True)
    return guard


def for_programs(view: Function) -> Function:
    """Mark a view that answers with something else than a page: data, a file, a stream."""
    setattr(view, _FOR_PROGRAMS, True)
    return view


def is_for_programs(app: Flask, endpoint: str | None) -> bool:
    return getattr(app.view_functions.get(endpoint or ""), _FOR_PROGRAMS, False)


def is_page(app: Flask, endpoint: str) -> bool:
    """Whether signed-in people see a page there: guarded, and nothing for programs."""
    blueprint = endpoint.rpartition(".")[0]
    guards = app.before_request_funcs.get(blueprint, ())
    return any(hasattr(guard, _GUARD) for guard in guards) and not is_for_programs(app, endpoint)
