"""Tell from the newest callbacks which of our two tokens Twilio signs with.

A rotation: set the new token as the secondary one, promote it in the Twilio Console, make it
TWILIO_AUTH_TOKEN here. For some minutes after the promotion, callbacks of both tokens arrive.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import takewhile

from sqlalchemy import Connection, Select, and_, or_, select

from smstracker.carrier import current_carrier
from smstracker.carrier.signatures import PRIMARY, SECONDARY
from smstracker.clock import format_duration, is_within
from smstracker.extensions import settings
from smstracker.models import StatusEvent
from smstracker.sms.status import Source

JUDGED_CALLBACKS = 20
SCANNED_EVENTS = 2_000  # to find these callbacks
# Single late callbacks prove nothing: so many in a row do, or two in a row that far apart.
PROMOTED_AFTER_CALLBACKS = 5
SETTLED_AFTER = timedelta(minutes=15)
MAKE_PRIMARY = "set TWILIO_AUTH_TOKEN to it, and TWILIO_AUTH_TOKEN_SECONDARY to the old one"


class Rotation(StrEnum):
    """Stage of a token rotation, in words."""

    NONE = "none is under way"
    NO_CALLBACK = "a secondary token is set; no callback since then shows which one signs"
    PRIMARY_SIGNS = (
        "a secondary token is set; the newest callbacks are signed with TWILIO_AUTH_TOKEN"
    )
    SETTLING = (
        "a few of the newest callbacks are signed with the secondary token, as is normal for some "
        "minutes after a rotation"
    )
    PROMOTED = "the newest callbacks are signed with the secondary token: Twilio has promoted it"
    DONE = (
        "it is over: the newest callbacks are signed with TWILIO_AUTH_TOKEN, and for "
        f"{format_duration(SETTLED_AFTER)} none with the secondary token"
    )


@dataclass(frozen=True, slots=True)
class SignedCallback:
    """A callback that verified with a token that is set unchanged."""

    token: str | None
    received_at: datetime


def read_rotation(connection: Connection, now: datetime) -> Rotation:
    """Judge the rotation by the newest callbacks that are stored; none in demo mode."""
    if settings().demo:  # the simulator signs with a secondary token to show it
        return Rotation.NONE
    marks = current_carrier().signatures.token_marks
    newest = connection.execute(_select_newest_callbacks(marks)).all()
    return judge_rotation(marks, [SignedCallback(*row) for row in newest], now)


def _select_newest_callbacks(marks: Mapping[str, str]) -> Select[tuple[str | None, datetime]]:
    """Select token and time of the newest callbacks, without those of tokens changed since."""
    newest = select(StatusEvent.id).order_by(StatusEvent.id.desc()).limit(SCANNED_EVENTS)
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
        .limit(JUDGED_CALLBACKS)
    )


def judge_rotation(
    marks: Mapping[str, str], newest: Sequence[SignedCallback], now: datetime
) -> Rotation:
    """Judge the rotation by the newest callbacks, newest first."""
    if SECONDARY not in marks:
        return Rotation.NONE
    if not newest:
        return Rotation.NO_CALLBACK
    by_secondary = [callback for callback in newest if callback.token == SECONDARY]
    if not by_secondary:
        return Rotation.PRIMARY_SIGNS
    if newest[0].token == PRIMARY:
        is_recent = is_within(by_secondary[0].received_at, now, SETTLED_AFTER)
        return Rotation.SETTLING if is_recent else Rotation.DONE
    return Rotation.PROMOTED if _is_promoted(newest) else Rotation.SETTLING


def _is_promoted(newest: Sequence[SignedCallback]) -> bool:
    """Whether the secondary token signs more than late callbacks."""
    by_secondary = list(takewhile(lambda callback: callback.token == SECONDARY, newest))
    duration = by_secondary[0].received_at - by_secondary[-1].received_at
    return len(by_secondary) >= PROMOTED_AFTER_CALLBACKS or duration > SETTLED_AFTER
