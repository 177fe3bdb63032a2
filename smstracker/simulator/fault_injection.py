"""What goes wrong between the carrier and the receiver, on top of any story."""

import random
from dataclasses import dataclass, fields, replace

from smstracker.simulator.callback_client import CallbackRequest
from smstracker.simulator.scenarios import Scenario, ScenarioStep, SigningKey


@dataclass(frozen=True, slots=True)
class Faults:
    """How often what goes wrong: shares from 0 to 1 of all callbacks, or of all create calls.

    A `swapped` callback is posted after the next one of its message, or as usual if none comes.
    A `forged` one comes in addition and claims a final status that is never reached.
    """

    lost: float = 0
    doubled: float = 0
    swapped: float = 0
    forged: float = 0
    old_token: float = 0
    answer_lost: float = 0
    seed: int = 0

    def __post_init__(self) -> None:
        shares = {each.name: getattr(self, each.name) for each in fields(self)}
        del shares["seed"]
        if wrong := [name for name, share in shares.items() if not 0 <= share <= 1]:
            raise ValueError(f"not between 0 and 1: {', '.join(wrong)}")


class FaultInjector:
    """Turns what a story tells into what is posted. For any one message, not thread safe."""

    def __init__(self, mishaps: Faults) -> None:
        self._mishaps = mishaps
        self._random = random.Random(mishaps.seed)
        self._held: dict[str, list[CallbackRequest]] = {}

    def loses_answer(self) -> bool:
        return self._strikes(self._mishaps.answer_lost)

    def forges(self) -> bool:
        return self._strikes(self._mishaps.forged)

    def befall(self, event: CallbackRequest, copies: int) -> list[CallbackRequest]:
        """What is to be posted now, in this order."""
        posted = self._spoil(event, copies)
        if posted and event.sid not in self._held and self._strikes(self._mishaps.swapped):
            self._held[event.sid] = posted
            return []
        return posted + self.release(event.sid) if posted else []

    def release(self, sid: str) -> list[CallbackRequest]:
        """What was held back for the next callback of this message."""
        return self._held.pop(sid, [])

    def _spoil(self, event: CallbackRequest, copies: int) -> list[CallbackRequest]:
        if self._strikes(self._mishaps.lost):
            return []
        if event.key is not SigningKey.WRONG and self._strikes(self._mishaps.old_token):
            event = replace(event, key=SigningKey.FORMER)
        return [event] * (copies + (copies > 0 and self._strikes(self._mishaps.doubled)))

    def _strikes(self, share: float) -> bool:
        return self._random.random() < share


def false_step(story: Scenario) -> ScenarioStep:
    """What a forger claims: a final status that this story never has."""
    true = {step.status for step in story.steps if step.recorded}
    if "delivered" in true:
        return ScenarioStep(0, "undelivered", error_code=30003, recorded=False, forged=True)
    return ScenarioStep(0, "delivered", recorded=False, forged=True)
