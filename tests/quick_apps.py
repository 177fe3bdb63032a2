"""Apps that cost little to make: templates, addresses and SQL are compiled once a run."""

from types import MethodType, SimpleNamespace
from typing import Any

from flask import Flask
from werkzeug.routing import Rule

from smstracker.extensions import db
from smstracker.webhooks import writer


class QuickRule(Rule):
    """Werkzeug compiles a pattern and two functions for each address of each app.

    That takes longer than all else of making one.
    """

    _compiled: dict[tuple[str, str], dict[str, Any]] = {}

    def compile(self) -> None:
        key = (self.rule, repr(self.defaults))
        if key in self._compiled:
            vars(self).update(self._compiled[key])
        else:
            super().compile()
            names = ("arguments", "_parts", "_trace", "_converters", "_build", "_build_unknown")
            self._compiled[key] = {name: vars(self)[name] for name in names}
        self._build = MethodType(self._build.__func__, self)
        self._build_unknown = MethodType(self._build_unknown.__func__, self)


class CompiledTemplates:
    """A cache for Jinja: the templates, compiled once for all apps of a test run."""

    def __init__(self) -> None:
        self._buckets: dict[tuple[str, str], SimpleNamespace] = {}

    def get_bucket(self, _env: object, name: str, _path: object, source: str) -> SimpleNamespace:
        return self._buckets.setdefault((name, source), SimpleNamespace(code=None))

    def set_bucket(self, bucket: SimpleNamespace) -> None:
        """The bucket is kept already; Jinja has put the code into it."""


COMPILED_TEMPLATES = CompiledTemplates()


class CompiledStatements(dict[tuple[Any, ...], Any]):
    """A cache for SQLAlchemy: the statements, compiled once for all engines of a kind.

    The key of a statement begins with the dialect, of which each engine has its own.
    """

    def get(self, key: tuple[Any, ...], default: Any = None) -> Any:
        return super().get((key[0].name, *key[1:]), default)

    def __setitem__(self, key: tuple[Any, ...], compiled: Any) -> None:
        super().__setitem__((key[0].name, *key[1:]), compiled)


COMPILED_STATEMENTS = CompiledStatements()
for mapper in db.Model.registry.mappers:  # of objects that a session writes
    mapper._compiled_cache = COMPILED_STATEMENTS


def make_quick(app: Flask) -> None:
    """Let an app use what was compiled for others."""
    app.jinja_env.bytecode_cache = COMPILED_TEMPLATES
    writer.IDLE_SECONDS = 0  # no test waits for its thread
    writer.RECOUNT_SECONDS = 0  # a test may leave a database that is away
    with app.app_context():
        db.engine.update_execution_options(compiled_cache=COMPILED_STATEMENTS)
