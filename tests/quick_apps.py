"""Apps that cost little to make: templates and addresses are compiled once a run."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from werkzeug.routing import Rule


class QuickRule(Rule):
    """Werkzeug compiles two functions for each address of each app: half the time to make one."""

    _builders: dict[tuple[object, ...], Callable[..., Any]] = {}

    def _compile_builder(self, append_unknown: bool = True) -> Callable[..., Any]:
        key = (self.rule, tuple(self._trace), repr(self.defaults), append_unknown)
        if key not in self._builders:
            self._builders[key] = super()._compile_builder(append_unknown)
        return self._builders[key]


class CompiledTemplates:
    """A cache for Jinja: the templates, compiled once for all apps of a test run."""

    def __init__(self) -> None:
        self._buckets: dict[tuple[str, str], SimpleNamespace] = {}

    def get_bucket(self, _env: object, name: str, _path: object, source: str) -> SimpleNamespace:
        return self._buckets.setdefault((name, source), SimpleNamespace(code=None))

    def set_bucket(self, bucket: SimpleNamespace) -> None:
        """The bucket is kept already; Jinja has put the code into it."""


COMPILED_TEMPLATES = CompiledTemplates()
