"""Which of our two tokens Twilio signs with, judged by the newest callbacks.

A rotation: the new token is set as the secondary one, promoted in the Twilio Console, and made
TWILIO_AUTH_TOKEN here. For some minutes after the promotion callbacks of both tokens come.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import takewhile

from sqlalchemy import Select, and_, or_, select

from smstracker.carrier.signatures import PRIMARY, SECONDARY
from smstracker.models import StatusEvent
from smstracker.sms.status import Source

NEWEST = 20  # callbacks that are judged
LOOKED_THROUGH = 2_000  # events, to find them
# A few late ones prove nothing: so many in a row do, or two in a row that lie so far apart.
PROVEN_BY = 5
SETTLED_AFTER = timedelta(minutes=15)


class Rotation(StrEnum):
    """How far the rotation of the token is."""

    NONE = "none"  # no secondary token is set
    UNSEEN = "unseen"  # no callback has come since the tokens were set
    PRIMARY_SIGNS = "primary signs"
    SETTLING = "settling"  # some of both
    PROMOTED = "promoted"  # the secondary token signs
    DONE = "done"  # the secondary token has ceased to sign


@dataclass(frozen=True, slots=True)
class SignedCallback:
    """A callback that verified with a token that is still set as it was then."""

    token: str | None
    received_at: datetime


def newest_callbacks(marks: Mapping[str, str]) -> Select[tuple[str | None, datetime]]:
    """Token and time of the newest ones, newest first; one set elsewhere since does not count."""
    newest = select(StatusEvent.id).order_by(StatusEvent.id.desc()).limit(LOOKED_THROUGH)
    as_set_now = [
        and_(StatusEvent.signed_with == token, StatusEvent.token_mark == mark)
        for token, mark in marks.items()
    ]
    return (
        select(StatusEvent.signed_with, StatusEvent.received_at)
        .where(
            StatusEvent.id.in_(newest.subquery().select()),
            StatusEvent.source == Source.CALLBACK,
            StatusEvent.replayed_at.is_(None),
            or_(*as_set_now),
        )
        .order_by(StatusEvent.id.desc())
        .limit(NEWEST)
    )


def rotation(marks: Mapping[str, str], newest: Sequence[SignedCallback], now: datetime) -> Rotation:
    """How far it is; `newest` are the newest callbacks, newest first."""
    if SECONDARY not in marks:
        return Rotation.NONE
    if not newest:
        return Rotation.UNSEEN
    by_secondary = [callback for callback in newest if callback.token == SECONDARY]
    if not by_secondary:
        return Rotation.PRIMARY_SIGNS
    if newest[0].token == PRIMARY:
        is_over = now - by_secondary[0].received_at > SETTLED_AFTER
        return Rotation.DONE if is_over else Rotation.SETTLING
    return Rotation.PROMOTED if _is_proven(newest) else Rotation.SETTLING


def _is_proven(newest: Sequence[SignedCallback]) -> bool:
    """Whether the secondary token signs, not only what comes late under an old one."""
    in_a_row = list(takewhile(lambda callback: callback.token == SECONDARY, newest))
    lasted = in_a_row[0].received_at - in_a_row[-1].received_at
    return len(in_a_row) >= PROVEN_BY or lasted > SETTLED_AFTER
