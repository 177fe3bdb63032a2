"""Sentences on refused callbacks. Data in sentences.toml."""

import tomllib
from pathlib import Path

from smstracker.callback_requests.body import MAX_KEPT_BYTES
from smstracker.carrier.signatures import SIGNATURE, SIGNATURE_SETTINGS
from smstracker.command_name import COMMAND
from smstracker.refused.request import MAX_TARGET_LENGTH
from smstracker.web.urls import STATUS_PATH

_tables = tomllib.loads(Path(__file__).with_name("sentences.toml").read_text("utf-8"))
OTHER_WEBHOOKS: dict[str, str] = _tables["other_webhooks"]
TOKENS: dict[str, str] = _tables["tokens"]
DIFFERENCES: dict[str, list[str]] = _tables["differences"]
_FACTS = {
    "command": COMMAND,
    "signature": SIGNATURE,
    "settings_header": SIGNATURE_SETTINGS,
    "status_path": STATUS_PATH,
    "kept_body": MAX_KEPT_BYTES // 1024,
    "kept_target": MAX_TARGET_LENGTH // 1024,
}


def refusal_reason(reason: str) -> str:
    """The words for a stored reason, which another version may have stored."""
    words: str = _tables["reasons"].get(reason, f"Refused ({reason})")
    return words


def sentence(name: str, **values: str) -> str:
    """A sentence by its name in the data, with `values` filled in."""
    text: str = _tables["sentences"][name].format(**_FACTS, **values)
    return text


APPLIED, READY = sentence("applied"), sentence("ready")
