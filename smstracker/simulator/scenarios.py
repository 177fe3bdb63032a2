"""What becomes of a message, told by its recipient number. Pure data."""

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


class CreateAnswer(Enum):
    """When the call that creates the message is answered."""

    AT_ONCE = "at once"
    AFTER_SENT = "after the callback of sent"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class ScenarioStep:
    """One change of status, `after` seconds from the step before it.

    `recorded` is false when nothing becomes true and only a callback is posted.
    """

    after: float
    status: str
    error_code: int | None = None
    recorded: bool = True
    called_back: bool = True
    forged: bool = False


@dataclass(frozen=True, slots=True)
class Scenario:
    """`copies` is how often each callback is posted; `refusal` is the code of a refused create."""

    number: str
    title: str
    description: str
    steps: tuple[ScenarioStep, ...] = ()
    copies: int = 1
    key: SigningKey = SigningKey.PRIMARY
    answer: CreateAnswer = CreateAnswer.AT_ONCE
    refusal: int | None = None


QUEUED = ScenarioStep(0.3, "queued")
CANCELED = ScenarioStep(0, "canceled", recorded=False)

_SENDING = ScenarioStep(0.5, "sending", called_back=False)
_SENT = ScenarioStep(0.5, "sent")
_DELIVERED = ScenarioStep(2.5, "delivered")
_NORMAL = (_SENDING, _SENT, _DELIVERED)


def _undelivered(number: str, code: int, why: str, description: str) -> Scenario:
    steps = (_SENDING, _SENT, ScenarioStep(2.5, "undelivered", error_code=code))
    return Scenario(number, f"Undelivered: {why}", description, steps)


STORIES: tuple[Scenario, ...] = (
    Scenario(
        "+15005550006",
        "Delivered",
        "The carrier takes the message and confirms its delivery a few seconds later.",
        _NORMAL,
    ),
    _undelivered(
        "+15005553003", 30003, "phone unreachable", "The phone is switched off or out of reach."
    ),
    _undelivered(
        "+15005553005",
        30005,
        "unknown number",
        "The number is not in use, or its phone is unknown.",
    ),
    _undelivered(
        "+15005553006", 30006, "landline", "The number is a landline, which takes no text messages."
    ),
    _undelivered(
        "+15005553007", 30007, "filtered", "The carrier takes the message for spam and filters it."
    ),
    _undelivered(
        "+15005553034",
        30034,
        "sender not registered",
        "The carrier blocks the message, because its sender is not registered.",
    ),
    Scenario(
        "+15005550001",
        "Refused: invalid number",
        "Nothing is sent: the number is not valid.",
        refusal=21211,
    ),
    Scenario(
        "+15005550004",
        "Refused: opted out",
        "Nothing is sent: the recipient has replied STOP.",
        refusal=21610,
    ),
    Scenario(
        "+15005550100",
        "Sent, then silence",
        "The carrier takes the message and never says what became of it.",
        (_SENDING, _SENT),
    ),
    Scenario(
        "+15005550101",
        "Late receipt",
        "The delivery receipt comes half a minute after the message was sent.",
        (_SENDING, _SENT, ScenarioStep(30, "delivered")),
    ),
    Scenario(
        "+15005550102",
        "Doubled callbacks",
        "Every status callback is posted twice.",
        _NORMAL,
        copies=2,
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
        "The message is delivered, but no callback ever says so.",
        _NORMAL,
        copies=0,
    ),
    Scenario(
        "+15005550105",
        "Forged callback",
        "After sent, someone without the auth token claims that the message was delivered.",
        (_SENDING, _SENT, ScenarioStep(1, "delivered", recorded=False, forged=True)),
    ),
    Scenario(
        "+15005550106",
        "Secondary token",
        "The callbacks are signed with the secondary auth token, as after a token rotation.",
        _NORMAL,
        key=SigningKey.SECONDARY,
    ),
    Scenario(
        "+15005550107",
        "Answer lost",
        "The carrier takes the message, but the connection breaks before it can say so.",
        _NORMAL,
        answer=CreateAnswer.NEVER,
    ),
    Scenario(
        "+15005550108",
        "Callback before the answer",
        "The callback for sent arrives while the request to send is still waiting for its answer.",
        _NORMAL,
        answer=CreateAnswer.AFTER_SENT,
    ),
    Scenario(
        "+15005550109",
        "Rate limited",
        "Nothing is sent: too many requests at once, with a time after which to try again.",
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
        "Nothing is sent, but the answer, an error of the carrier's server, does not say so.",
        refusal=20500,
    ),
    Scenario(
        "+15005550115",
        "Signed with a shared key",
        "The callbacks are signed with a shared webhook key, as a rule at Twilio can ask for.",
        _NORMAL,
        key=SigningKey.SHARED,
    ),
    Scenario(
        "+15005550116",
        "Signed with an unknown shared key",
        "The callbacks name a shared key that is not in the settings: they are refused, and one "
        "has to ask.",
        _NORMAL,
        key=SigningKey.UNKNOWN_SHARED,
    ),
    Scenario(
        "+15005550114",
        "Receipt only by asking",
        "The message is delivered; only the callback for sent comes, so that one has to ask.",
        (_SENDING, _SENT, ScenarioStep(2.5, "delivered", called_back=False)),
    ),
)

_BY_NUMBER = {story.number: story for story in STORIES}


def find_scenario(recipient: str) -> Scenario:
    """The story of a number, with or without a channel prefix; delivered when it has none."""
    return _BY_NUMBER.get(recipient.rpartition(":")[2], STORIES[0])
