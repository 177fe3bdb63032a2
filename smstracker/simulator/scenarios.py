"""Scenarios: what becomes of a message, chosen by the recipient's number. Pure data."""

from dataclasses import dataclass
from enum import Enum


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

    delay: float
    status: str
    error_code: int | None = None
    recorded: bool = True
    called_back: bool = True
    forged: bool = False


QUEUED = ScenarioStep(0.3, "queued")

_SENDING = ScenarioStep(0.5, "sending", called_back=False)
_SENT = ScenarioStep(0.5, "sent")
_DELIVERED = ScenarioStep(2.5, "delivered")
_NORMAL = (_SENDING, _SENT, _DELIVERED)


@dataclass(frozen=True, slots=True)
class Scenario:
    """`copies` counts the posts of a callback.

    `refusal` is the error code of the create call, after which no step follows.
    """

    number: str
    title: str
    description: str
    steps: tuple[ScenarioStep, ...] = _NORMAL
    copies: int = 1
    key: SigningKey = SigningKey.PRIMARY
    create_response: CreateResponse = CreateResponse.IMMEDIATE
    refusal: int | None = None


def _undelivered(code: int, reason: str, description: str) -> Scenario:
    """A number that ends in the last three digits of the error code."""
    number = f"+15005553{code % 1000:03}"
    steps = (_SENDING, _SENT, ScenarioStep(2.5, "undelivered", error_code=code))
    return Scenario(number, f"Not delivered: {reason}", description, steps)


SCENARIOS: tuple[Scenario, ...] = (
    Scenario(
        "+15005550006",
        "Delivered",
        "The carrier accepts the message and confirms its delivery a few seconds later.",
    ),
    _undelivered(30003, "phone unreachable", "The phone is switched off or out of reach."),
    _undelivered(30005, "unknown number", "The number is not in use, or its phone is unknown."),
    _undelivered(30006, "landline", "The number is a landline, which takes no text messages."),
    _undelivered(30007, "filtered", "The carrier filters the message as spam."),
    _undelivered(
        30034,
        "sender not registered",
        "The carrier blocks the message, because its sender is not registered.",
    ),
    Scenario(
        "+15005550001",
        "Not sent: invalid number",
        "Nothing is sent: the number is not valid.",
        refusal=21211,
    ),
    Scenario(
        "+15005550004",
        "Not sent: opted out",
        "Nothing is sent: the recipient has replied STOP.",
        refusal=21610,
    ),
    Scenario(
        "+15005550100",
        "Sent, then silence",
        "The carrier accepts the message, but no delivery receipt ever arrives.",
        (_SENDING, _SENT),
    ),
    Scenario(
        "+15005550101",
        "Late receipt",
        "The delivery receipt arrives half a minute after the message was sent.",
        (_SENDING, _SENT, ScenarioStep(30, "delivered")),
    ),
    Scenario(
        "+15005550102", "Doubled callbacks", "Every status callback is posted twice.", copies=2
    ),
    Scenario(
        "+15005550103",
        "Swapped order",
        "The callback for delivered arrives before the one for sent.",
        (
            _SENDING,
            ScenarioStep(0.5, "sent", called_back=False),
            _DELIVERED,
            ScenarioStep(0.5, "sent", recorded=False),
        ),
    ),
    Scenario(
        "+15005550104",
        "Lost callbacks",
        "The message is delivered, but no callback arrives.",
        copies=0,
    ),
    Scenario(
        "+15005550105",
        "Forged callback",
        "After sent, a callback without a valid signature claims that the message was delivered.",
        (_SENDING, _SENT, ScenarioStep(1, "delivered", recorded=False, forged=True)),
    ),
    Scenario(
        "+15005550106",
        "Secondary token",
        "The callbacks are signed with the secondary auth token, as after a token rotation.",
        key=SigningKey.SECONDARY,
    ),
    Scenario(
        "+15005550107",
        "Answer lost",
        "The carrier accepts the message, but the connection breaks before its answer arrives.",
        create_response=CreateResponse.LOST,
    ),
    Scenario(
        "+15005550108",
        "Callback before the answer",
        "The callback for sent arrives while the request to send is still waiting for its answer.",
        create_response=CreateResponse.AFTER_SENT,
    ),
    Scenario(
        "+15005550109",
        "Rate limited",
        "Nothing is sent: too many requests at once. The answer says when to try again.",
        refusal=20429,
    ),
    Scenario(
        "+15005550110",
        "Failed, then delivered",
        "The message is reported as failed, and a moment later as delivered.",
        (_SENDING, ScenarioStep(0.5, "failed", error_code=30008), ScenarioStep(2.5, "delivered")),
    ),
    Scenario(
        "+15005550111",
        "Delivered with a warning",
        "The message is delivered; a code warns that the sender should be registered.",
        (_SENDING, _SENT, ScenarioStep(2.5, "delivered", error_code=30018)),
    ),
    Scenario(
        "+15005550112",
        "Server error",
        "Nothing is sent, but the answer is a server error, which leaves the outcome open.",
        refusal=20500,
    ),
    Scenario(
        "+15005550115",
        "Signed with a shared key",
        "The callbacks are signed with a shared webhook key, as a rule at Twilio can ask for.",
        key=SigningKey.SHARED,
    ),
    Scenario(
        "+15005550116",
        "Signed with an unknown shared key",
        "The callbacks name a shared key that is not in the settings: they are refused. A look-up "
        "finds the status.",
        key=SigningKey.UNKNOWN_SHARED,
    ),
    Scenario(
        "+15005550114",
        "Receipt by look-up only",
        "The message is delivered, but its last callback is the one for sent. A look-up finds the "
        "receipt.",
        (_SENDING, _SENT, ScenarioStep(2.5, "delivered", called_back=False)),
    ),
)

_BY_NUMBER = {scenario.number: scenario for scenario in SCENARIOS}


def find_scenario(recipient: str) -> Scenario:
    """The scenario of a number; by default "Delivered"."""
    return _BY_NUMBER.get(recipient, SCENARIOS[0])
