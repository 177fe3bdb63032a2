"""Scenarios: what becomes of a message, chosen by the recipient's number.

Data in scenarios.toml.
"""

import tomllib
from dataclasses import dataclass
from enum import Enum
from pathlib import Path


class SigningKey(Enum):
    """The auth token or shared key that a callback is signed with."""

    PRIMARY = "primary"
    SECONDARY = "secondary"
    FORMER = "former"
    WRONG = "wrong"
    SHARED = "shared key"
    UNKNOWN_SHARED = "unknown shared key"


class CreateResponse(Enum):
    """When the call that creates the message is answered."""

    IMMEDIATE = "at once"
    AFTER_SENT = "after the callback of sent"
    LOST = "never"


@dataclass(frozen=True, slots=True)
class ScenarioStep:
    """One change of status, `delay` seconds after the previous step.

    A step that is not `recorded` posts a callback only and leaves the ledger unchanged.
    """

    status: str
    delay: float = 0
    error_code: int | None = None
    recorded: bool = True
    called_back: bool = True
    forged: bool = False


@dataclass(frozen=True, slots=True)
class Scenario:
    """`copies` counts the posts of a callback.

    `refusal` is the error code of the create call, after which no step follows.
    """

    number: str
    title: str
    description: str
    steps: tuple[ScenarioStep, ...]
    key: SigningKey
    create_response: CreateResponse
    copies: int = 1
    refusal: int | None = None


_tables = tomllib.loads(Path(__file__).with_name("scenarios.toml").read_text("utf-8"))
_STEPS = {name: ScenarioStep(**fields) for name, fields in _tables["step"].items()}
_DELIVERY = ("sending", "sent", "delivered")
QUEUED = _STEPS["queued"]
SCENARIOS = tuple(
    Scenario(
        **fields
        | {
            "steps": tuple(_STEPS[name] for name in fields.get("steps", _DELIVERY)),
            "key": SigningKey(fields.get("key", "primary")),
            "create_response": CreateResponse(fields.get("create_response", "at once")),
        }
    )
    for fields in _tables["scenario"]
)
_BY_NUMBER = {scenario.number: scenario for scenario in SCENARIOS}


def find_scenario(recipient: str) -> Scenario:
    """The scenario of a number; by default "Delivered"."""
    return _BY_NUMBER.get(recipient, SCENARIOS[0])
