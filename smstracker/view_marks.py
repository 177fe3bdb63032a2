"""Marks that decorators set on views, and that guards and handlers read. Imports nothing of ours.

So no code has to recognise a view by the name of its endpoint.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

from flask import current_app, request

AnyView = Callable[..., object]
View = TypeVar("View", bound=AnyView)
Value = TypeVar("Value")


class ViewMark(Generic[Value]):
    """A decorator that marks a view with `value`, or with another one by `with_value`."""

    def __init__(self, name: str, value: Value) -> None:
        self._attribute = f"_smstracker_{name}"
        self._value = value

    def __call__(self, view: View) -> View:
        return self.with_value(self._value)(view)

    def with_value(self, value: Value) -> Callable[[View], View]:
        def mark(view: View) -> View:
            setattr(view, self._attribute, value)
            return view

        return mark

    def value_of(self, view: AnyView | None) -> Value | None:
        """The value of the mark; None for a view without it."""
        value: Value | None = getattr(view, self._attribute, None)
        return value

    def value_of_current(self) -> Value | None:
        """The value of the mark on the view of the current request."""
        return self.value_of(current_app.view_functions.get(request.endpoint or ""))
