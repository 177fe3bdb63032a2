"""The sample messages and their events: one of every state, and texts that strain the layout."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from smstracker.sms.status import FINAL

SENDER = "+15005550006"
SERVICE = "MG" + "0123456789abcdef" * 2
LONG_WORD = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft"
LONG_TEXT = "Please bring your papers and the list of what you take. " * 26
ARABIC = "مرحبًا آنا، نظارتك جاهزة ويمكنك استلامها من الساعة 9 حتى الساعة 17. نراك قريبًا!"
HEBREW = "שלום, התור שלך הוא מחר בשעה 9:30 (Dr. Smith, room 4)."
EMOJI = "🎉🎂 Happy birthday, Zoë! 👩‍👩‍👧‍👦🏳️‍🌈 See you at 7 🕖 – don’t be late… ❤️"


@dataclass(frozen=True, slots=True)
class SampleStep:
    """A status event, `delay` seconds after the message."""

    status: str
    delay: float
    source: str = "callback"
    error_code: str | None = None
    payload: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SampleMessage:
    """A message that was sent `age` ago, and its events."""

    key: str
    status: str
    age: timedelta
    body: str
    steps: tuple[SampleStep, ...] = ()
    recipient: str = "+12025550123"
    code: str | None = None
    has_conflict: bool = False
    service: str | None = None
    pictures: tuple[str, ...] = ()
    price_micros: int | None = None

    @property
    def has_sid(self) -> bool:
        return any(step.status not in ("refused", "unknown", "unreached") for step in self.steps)

    def columns_at(self, created: datetime) -> dict[str, Any]:
        """The columns of the message, created at `created`."""
        current_steps = [step for step in self.steps if step.status == self.status]
        current_step = current_steps[0] if current_steps else SampleStep(self.status, 0.0)
        moved_at = created + timedelta(seconds=current_step.delay)
        return {
            "recipient": self.recipient,
            "sender": None if self.service else SENDER,
            "messaging_service_sid": self.service,
            "body": self.body,
            "media_urls": list(self.pictures),
            "status": self.status,
            "status_at": moved_at,
            "status_source": current_step.source if current_steps else None,
            "error_code": self.code,
            "has_conflict": self.has_conflict,
            "segments": 1,
            "price_micros": self.price_micros,
            "price_unit": "USD" if self.price_micros else None,
            "accepted_at": created + timedelta(seconds=0.4) if self.has_sid else None,
            "final_at": moved_at if self.status in FINAL else None,
        }


QUEUED = SampleStep("queued", 0.4, "send")
SENT = SampleStep("sent", 2.1)
DONE = {"RawDlrDoneDate": "2611240615", "ErrorCode": ""}
DELIVERED = SampleStep("delivered", 8.3, payload=DONE)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
CONFLICTING_STEPS = (
    QUEUED,
    SENT,
    SampleStep("sent", 2.2),
    SampleStep("failed", 31, error_code="30008", payload={"Long": "x" * 300}),
    SampleStep("delivered", 95, payload=DONE),
    SampleStep("queued", 96),
    SampleStep("teleported", 97),
    *(SampleStep("delivered", 100 + 600 * number, "lookup") for number in range(12)),
)
LOST_ANSWER = SampleStep("unknown", 30, "send")

SAMPLE_MESSAGES = (
    SampleMessage(
        "delivered",
        "delivered",
        1 * MINUTE,
        "Hi Anna, your glasses are ready. See you soon!",
        (QUEUED, SENT, DELIVERED),
        price_micros=7_900,
    ),
    SampleMessage("waiting", "queued", 0 * MINUTE, "The workshop is closed on Friday.", (QUEUED,)),
    SampleMessage(
        "sent",
        "sent",
        2 * MINUTE,
        "Your parcel is at the door.",
        (QUEUED, SENT),
        recipient="+12025550147",
    ),
    SampleMessage(
        "failed",
        "undelivered",
        4 * MINUTE,
        "Please call us back about your appointment.",
        (QUEUED, SENT, SampleStep("undelivered", 12, error_code="30006")),
        code="30006",
        recipient="+12025550181",
    ),
    SampleMessage(
        "unknown",
        "unknown",
        6 * MINUTE,
        "Your test results are here.",
        (LOST_ANSWER,),
        recipient="+16465550112",
    ),
    SampleMessage(
        "refused",
        "refused",
        9 * MINUTE,
        "Your order has been sent.",
        (SampleStep("refused", 0.6, "send", "21610"),),
        code="21610",
        recipient="+12025550168",
    ),
    SampleMessage(
        "unreached",
        "unreached",
        11 * MINUTE,
        "Hello?",
        (SampleStep("unreached", 0.6, "send"),),
        recipient="+447700900123",
    ),
    SampleMessage(
        "conflicting",
        "delivered",
        3 * HOUR,
        "Reported failed, then delivered.",
        CONFLICTING_STEPS,
        has_conflict=True,
    ),
    SampleMessage(
        "arabic",
        "delivered",
        4 * HOUR,
        ARABIC,
        (QUEUED, SENT, DELIVERED),
        recipient="+966501234567",
    ),
    SampleMessage(
        "hebrew",
        "delivered",
        5 * HOUR,
        HEBREW,
        (QUEUED, SENT, DELIVERED),
        recipient="+972502345678",
    ),
    SampleMessage(
        "emoji",
        "read",
        6 * HOUR,
        EMOJI,
        (QUEUED, SENT, DELIVERED, SampleStep("read", 65)),
        recipient="+436601234567",
    ),
    SampleMessage(
        "long-word",
        "delivered",
        7 * HOUR,
        f"{LONG_WORD}{LONG_WORD} https://clinic.example/{'a' * 200}",
        (QUEUED, SENT, DELIVERED),
        service=SERVICE,
        recipient="+4915112345678",
    ),
    SampleMessage(
        "long-text",
        "failed",
        8 * HOUR,
        LONG_TEXT,
        (QUEUED, SampleStep("failed", 5, error_code="39999")),
        code="39999",
        pictures=("https://pictures.example/" + "x" * 200, "https://pictures.example/two.jpg"),
    ),
    SampleMessage(
        "lines",
        "delivered",
        9 * HOUR,
        "One\n\n\nTwo\n  Three",
        (QUEUED, SENT, DELIVERED),
        recipient="+12025550190",
    ),
    SampleMessage(
        "scheduled", "scheduled", 1 * DAY, "Next week’s reminder.", (SampleStep("scheduled", 1),)
    ),
    SampleMessage(
        "cancelled", "canceled", 2 * DAY, "Never mind.", (QUEUED, SampleStep("canceled", 30))
    ),
    SampleMessage(
        "deleted",
        "deleted",
        3 * DAY,
        "Your invoice is ready.",
        (QUEUED, SENT, SampleStep("deleted", 300, "lookup")),
        recipient="+12025550175",
    ),
    SampleMessage(
        "no-receipt", "sent", 4 * DAY, "Is anybody there?", (QUEUED, SENT), recipient="+3912345678"
    ),
)
