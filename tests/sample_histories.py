"""What became of the staged messages: one of every state, and the texts that strain a page."""

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
class Step:
    """Something that was learned `after` so many seconds."""

    word: str
    after: float
    source: str = "callback"
    code: str | None = None
    payload: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Told:
    """A message that was sent `ago`, and what was learned of it."""

    key: str
    status: str
    ago: timedelta
    body: str
    steps: tuple[Step, ...] = ()
    to: str = "+12025550123"
    code: str | None = None
    conflicting: bool = False
    service: str | None = None
    pictures: tuple[str, ...] = ()
    price_micros: int | None = None

    @property
    def has_sid(self) -> bool:
        return any(step.word not in ("refused", "unknown", "unreached") for step in self.steps)

    def columns(self, created: datetime) -> dict[str, Any]:
        """The columns of the message."""
        mine = [step for step in self.steps if step.word == self.status]
        moved = mine[0] if mine else Step(self.status, 0.0)
        moved_at = created + timedelta(seconds=moved.after)
        return {
            "recipient": self.to,
            "sender": None if self.service else SENDER,
            "messaging_service_sid": self.service,
            "body": self.body,
            "media_urls": list(self.pictures),
            "status": self.status,
            "status_at": moved_at,
            "status_source": moved.source if mine else None,
            "error_code": self.code,
            "conflicting": self.conflicting,
            "segments": 1,
            "price_micros": self.price_micros,
            "price_unit": "USD" if self.price_micros else None,
            "accepted_at": created + timedelta(seconds=0.4) if self.has_sid else None,
            "final_at": moved_at if self.status in FINAL else None,
        }


QUEUED = Step("queued", 0.4, "send")
SENT = Step("sent", 2.1)
DONE = {"RawDlrDoneDate": "2611240615", "ErrorCode": ""}
DELIVERED = Step("delivered", 8.3, payload=DONE)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
LONG_STORY = (
    QUEUED,
    SENT,
    Step("sent", 2.2),
    Step("failed", 31, code="30008", payload={"Long": "x" * 300}),
    Step("delivered", 95, payload=DONE),
    Step("queued", 96),
    Step("teleported", 97),
    *(Step("delivered", 100 + 600 * number, "lookup") for number in range(12)),
)
LOST = Step("unknown", 30, "send")

ALL_STATES = (
    Told(
        "delivered",
        "delivered",
        1 * MINUTE,
        "Hi Anna, your glasses are ready. See you soon!",
        (QUEUED, SENT, DELIVERED),
        price_micros=7_900,
    ),
    Told("waiting", "queued", 0 * MINUTE, "The workshop is closed on Friday.", (QUEUED,)),
    Told(
        "sent", "sent", 2 * MINUTE, "Your parcel is at the door.", (QUEUED, SENT), to="+12025550147"
    ),
    Told(
        "failed",
        "undelivered",
        4 * MINUTE,
        "Please call us back about your appointment.",
        (QUEUED, SENT, Step("undelivered", 12, code="30006")),
        code="30006",
        to="+12025550181",
    ),
    Told(
        "unknown", "unknown", 6 * MINUTE, "Your test results are here.", (LOST,), to="+16465550112"
    ),
    Told(
        "refused",
        "refused",
        9 * MINUTE,
        "Your order has been sent.",
        (Step("refused", 0.6, "send", "21610"),),
        code="21610",
        to="+12025550168",
    ),
    Told(
        "unreached",
        "unreached",
        11 * MINUTE,
        "Hello?",
        (Step("unreached", 0.6, "send"),),
        to="+447700900123",
    ),
    Told(
        "conflicting",
        "delivered",
        3 * HOUR,
        "Reported failed, then delivered.",
        LONG_STORY,
        conflicting=True,
    ),
    Told("arabic", "delivered", 4 * HOUR, ARABIC, (QUEUED, SENT, DELIVERED), to="+966501234567"),
    Told("hebrew", "delivered", 5 * HOUR, HEBREW, (QUEUED, SENT, DELIVERED), to="+972502345678"),
    Told(
        "emoji",
        "read",
        6 * HOUR,
        EMOJI,
        (QUEUED, SENT, DELIVERED, Step("read", 65)),
        to="+436601234567",
    ),
    Told(
        "long-word",
        "delivered",
        7 * HOUR,
        f"{LONG_WORD}{LONG_WORD} https://clinic.example/{'a' * 200}",
        (QUEUED, SENT, DELIVERED),
        service=SERVICE,
        to="+4915112345678",
    ),
    Told(
        "long-text",
        "failed",
        8 * HOUR,
        LONG_TEXT,
        (QUEUED, Step("failed", 5, code="39999")),
        code="39999",
        pictures=("https://pictures.example/" + "x" * 200, "https://pictures.example/two.jpg"),
    ),
    Told(
        "lines",
        "delivered",
        9 * HOUR,
        "One\n\n\nTwo\n  Three",
        (QUEUED, SENT, DELIVERED),
        to="+12025550190",
    ),
    Told("scheduled", "scheduled", 1 * DAY, "Next week’s reminder.", (Step("scheduled", 1),)),
    Told("cancelled", "canceled", 2 * DAY, "Never mind.", (QUEUED, Step("canceled", 30))),
    Told(
        "deleted",
        "deleted",
        3 * DAY,
        "Your invoice is ready.",
        (QUEUED, SENT, Step("deleted", 300, "lookup")),
        to="+12025550175",
    ),
    Told("no-receipt", "sent", 4 * DAY, "Is anybody there?", (QUEUED, SENT), to="+3912345678"),
)
