"""Random faults between the carrier and the receiver, on top of any scenario."""

import random
import threading
from dataclasses import dataclass, replace

from smstracker.simulator.ledger import CallbackRequest
from smstracker.simulator.scenarios import Scenario, ScenarioStep, SigningKey


@dataclass(frozen=True, slots=True)
class Faults:
    """Rates from 0 to 1, of all callbacks; `answer_lost` of all create calls.

    A `swapped` callback is posted after the next one of its message, or last if there is none.
    A `forged` one is added and claims a final status that the scenario never reaches.
    """

    lost: float = 0
    doubled: float = 0
    swapped: float = 0
    forged: float = 0
    old_token: float = 0
    answer_lost: float = 0
    seed: int = 0


class FaultInjector:
    """Loses, copies, delays and forges callbacks. Not thread safe for one message."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._random = random.Random(faults.seed)
        self._delayed: dict[str, list[CallbackRequest]] = {}
        self._refusals_left = 0
        self._lock = threading.Lock()

    def refuse_next(self, count: int) -> None:
        """Refuse the next `count` create calls: too many requests."""
        with self._lock:
            self._refusals_left = count

    def refuses_create(self) -> bool:
        with self._lock:
            self._refusals_left -= (is_refused := self._refusals_left > 0)
        return is_refused

    def loses_response(self) -> bool:
        return self._draw(self._faults.answer_lost)

    def adds_forgery(self) -> bool:
        return self._draw(self._faults.forged)

    def apply_faults(self, callback: CallbackRequest, copies: int) -> list[CallbackRequest]:
        """The callbacks to post now, in order."""
        if copies == 0 or self._draw(self._faults.lost):
            return []
        if callback.signing_key is not SigningKey.WRONG and self._draw(self._faults.old_token):
            callback = replace(callback, signing_key=SigningKey.FORMER)
        callbacks = [callback] * (copies + self._draw(self._faults.doubled))
        if callback.sid not in self._delayed and self._draw(self._faults.swapped):
            self._delayed[callback.sid] = callbacks
            return []
        return callbacks + self.release(callback.sid)

    def release(self, sid: str) -> list[CallbackRequest]:
        """Remove and return the delayed callbacks of a message."""
        return self._delayed.pop(sid, [])

    def _draw(self, share: float) -> bool:
        return self._random.random() < share


def forged_step(scenario: Scenario) -> ScenarioStep:
    """A forged step: a final status that the scenario never reaches."""
    recorded_statuses = {step.status for step in scenario.steps if step.recorded}
    if "delivered" in recorded_statuses:
        return ScenarioStep("undelivered", error_code=30003, recorded=False, forged=True)
    return ScenarioStep("delivered", recorded=False, forged=True)
