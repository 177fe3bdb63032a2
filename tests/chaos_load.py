"""What a chaos run sends: by the form, by the API and in batches."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest

from smstracker.extensions import db
from smstracker.models import SignInToken
from smstracker.simulator import SCENARIOS
from tests.chaos_batches import BatchSender, SentBatch, divide
from tests.chaos_environment import Environment
from tests.chaos_senders import ApiClient, Order, Pace, PacedOrders, Sender, SenderPool
from tests.programs import Program

FORM_SENDERS = 4
API_CLIENTS = 3
TOO_MANY_REQUESTS = 20429
FORM, LATER, API, BATCH = "form", "form, later", "API", "batch"
# How the messages of each round of the scenarios are sent, in turn.
WAYS = (FORM, LATER, API, API, BATCH, BATCH)
Orders = Mapping[str, Sequence[Order]]


@dataclass(frozen=True, slots=True)
class Load:
    """The messages of a run and who sends them. `orders` are by the way in which they are sent."""

    orders: Orders
    batches: Sequence[SentBatch]
    batch_sender: BatchSender
    pool: SenderPool

    @classmethod
    def start(
        cls, environment: Environment, messages: int, batches: int, ways: Sequence[str] = WAYS
    ) -> "Load":
        """Have users and programs send so many messages, some of them in so many batches."""
        orders = _build_orders(messages, ways if environment.worker else [FORM])
        parts = divide(orders[BATCH], batches)
        batch_sender = _batch_sender(environment)
        pace = Pace()
        senders = [
            *_senders(environment, orders, pace),
            ("uploads repeated", batch_sender.send_all(parts)),
        ]
        return cls(orders, parts, batch_sender, SenderPool(senders, pace))

    @property
    def texts(self) -> list[str]:
        return [order.body for order in chain.from_iterable(self.orders.values())]

    @property
    def share_sent(self) -> float:
        """The share of what is not sent in batches."""
        return self.pool.sent / sum(len(self.orders[way]) for way in (FORM, LATER, API))

    def read_batches(self) -> None:
        """Read what the API says of the batches."""
        self.batch_sender.read(self.batches)

    def stopped_texts(self) -> set[str]:
        """The texts of the batches that were stopped, once they are read."""
        return {text for batch in self.batches if batch.is_stopped for text in batch.texts}

    def count(self) -> dict[str, int]:
        """Counts of what was sent, once the batches are read."""
        sent = {f"  by {way}": len(orders) for way, orders in sorted(self.orders.items())}
        batches = {
            "batches": len(self.batches),
            "pauses of batches": sum(len(batch.pauses) for batch in self.batches),
            "batches stopped": sum(batch.is_stopped for batch in self.batches),
        }
        return sent | batches | self.pool.repeats


def _build_orders(messages: int, ways: Sequence[str]) -> Orders:
    orders: dict[str, list[Order]] = {way: [] for way in WAYS}
    for number in range(messages):
        scenario = SCENARIOS[number % len(SCENARIOS)]
        way = ways[number // len(SCENARIOS) % len(ways)]
        if scenario.refusal == TOO_MANY_REQUESTS:
            way = FORM  # in the outbox, the others of the sender would wait for it
        orders[way].append(Order(scenario.number, f"Message {number}", way == LATER))
    return orders


def _senders(
    environment: Environment, orders: Orders, pace: Pace
) -> Iterator[tuple[str, Iterator[int]]]:
    pairs = chain.from_iterable(zip_longest(orders[FORM], orders[LATER]))
    forms = PacedOrders([*filter(None, pairs)], pace)
    calls = PacedOrders(orders[API], pace)
    for number in range(FORM_SENDERS):
        sender = _sender(environment, f"sender{number}@example.org")
        yield "forms repeated", sender.send_all(forms)
    for number in range(API_CLIENTS):
        client = _client(environment, f"program{number}@example.org")
        yield "API calls repeated", client.send_all(calls)


def _batch_sender(environment: Environment) -> BatchSender:
    email = "batches@example.org"
    return BatchSender(_sender(environment, email), _client(environment, email))


def _sender(environment: Environment, email: str) -> Sender:
    with environment.app.app_context():
        token = SignInToken.issue(email).token
        db.session.commit()
    return Sender(environment.url, token)


def _client(environment: Environment, email: str) -> ApiClient:
    return ApiClient(environment.url, Program(environment.app, email).secret)
