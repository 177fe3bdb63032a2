"""The version of smstracker, which pyproject.toml alone says."""

import tomllib
from functools import cache

from smstracker.settings.files import ROOT


@cache
def version() -> str:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return str(project["version"])
