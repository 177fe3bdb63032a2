"""A user who uploads batches, pauses and resumes them, and stops one."""

import csv
import io
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from smstracker.clock import utcnow
from smstracker.models.batches import OVER, BatchState
from tests.chaos_environment import wait_until
from tests.chaos_senders import SENDER, ApiClient, Order, Sender

PAUSES = 2  # of each batch
PAUSE_SECONDS = 4.0
# A pause takes effect within this time: some calls are under way.
EFFECT = timedelta(seconds=2)
BATCH_SECONDS = 900.0
TEXT = "((text))"


@dataclass
class SentBatch:
    """A batch with its rows; `answer` is what the API says of it in the end.

    `pauses` are the times in which nothing of it may be handed over.
    """

    orders: Sequence[Order]
    is_by_page: bool
    is_to_be_stopped: bool
    public_id: str = ""
    pauses: list[tuple[datetime, datetime]] = field(default_factory=list)
    answer: dict[str, Any] = field(default_factory=dict)

    @property
    def texts(self) -> list[str]:
        return [order.body for order in self.orders]

    @property
    def is_stopped(self) -> bool:
        return self.answer["state"] == BatchState.STOPPED


def divide(orders: Sequence[Order], count: int) -> list[SentBatch]:
    """Up to `count` batches, by the API and the page in turn; the last is to be stopped."""
    parts = [orders[number::count] for number in range(count) if orders[number::count]]
    left = range(len(parts) - 1, -1, -1)
    return [SentBatch(part, n % 2 == 0, n == 0) for part, n in zip(parts, left, strict=True)]


class BatchSender:
    """Sends one batch after the other, as the same user with a browser and with a program."""

    def __init__(self, sender: Sender, client: ApiClient) -> None:
        self._sender = sender
        self._client = client

    def send_all(self, batches: Iterable[SentBatch]) -> Iterator[int]:
        """Send each until it is over; how often its upload was repeated."""
        for batch in batches:
            yield self._upload_by_page(batch) if batch.is_by_page else self._upload_by_api(batch)
            for number in range(PAUSES):
                self._wait_for_share(batch, number / PAUSES)
                self._pause(batch)
            self._wait_for_share(batch, 1)

    def read(self, batches: Iterable[SentBatch]) -> None:
        """Read what the API says of each."""
        for batch in batches:
            batch.answer = self._client.get(f"batches/{batch.public_id}")

    def _upload_by_api(self, batch: SentBatch) -> int:
        rows = [{"to": order.recipient, "text": order.body} for order in batch.orders]
        fields = {"text": TEXT, "from": SENDER, "rows": rows, "start_count": len(rows)}
        fields["repeats"] = True  # the number is that of the scenario
        answer, repeats = self._client.post("batches", uuid.uuid4().hex, fields)
        batch.public_id = answer["id"]
        return repeats

    def _upload_by_page(self, batch: SentBatch) -> int:
        table = io.StringIO()
        rows = [(order.recipient, order.body) for order in batch.orders]
        csv.writer(table).writerows([("phone", "text"), *rows])
        file = {"file": ("people.csv", table.getvalue().encode())}
        fields = {"body": TEXT, "sender": SENDER, "form_id": str(uuid.uuid4())}
        address, repeats = self._sender.post_until_shown("/batches", file, **fields)
        batch.public_id = address.rpartition("/")[2]
        self._wait(batch, lambda answer: answer["state"] != BatchState.CHECKING)
        self._act(batch, "start", count=str(len(rows)))
        return repeats

    def _pause(self, batch: SentBatch) -> None:
        """Pause the batch and resume it, or stop it where that is to be."""
        self._act(batch, "pause")
        since = utcnow() + EFFECT
        if self._read(batch)["state"] != BatchState.PAUSED:
            return
        threading.Event().wait(PAUSE_SECONDS)
        batch.pauses.append((since, utcnow()))
        self._act(batch, "stop" if batch.is_to_be_stopped else "resume")

    def _act(self, batch: SentBatch, action: str, **fields: str) -> None:
        self._sender.post_until_shown(f"/batches/{batch.public_id}/{action}", **fields)

    def _wait_for_share(self, batch: SentBatch, share: float) -> None:
        """Wait until this share of the batch is handed over, or until the batch is over."""

        def is_reached(answer: dict[str, Any]) -> bool:
            if not answer["counts"]:
                return False
            waiting = answer["counts"]["waiting_here"]
            is_over = answer["state"] in OVER and not waiting
            return is_over or (share < 1 and waiting <= (1 - share) * len(batch.orders))

        self._wait(batch, is_reached)

    def _wait(self, batch: SentBatch, condition: Callable[[dict[str, Any]], bool]) -> None:
        wait_until(
            lambda: condition(self._read(batch)), BATCH_SECONDS, "a batch is so far", pause=0.3
        )

    def _read(self, batch: SentBatch) -> dict[str, Any]:
        return self._client.get(f"batches/{batch.public_id}")
