"""How many messages a person may save: in a minute, and in a day with what batches still send."""

from datetime import datetime, timedelta

from sqlalchemy import BindParameter, Select, bindparam
from sqlalchemy.sql import func, select

from smstracker.clock import DAY, MINUTE
from smstracker.database.statement_time import StatementTime
from smstracker.extensions import db, settings
from smstracker.models.batches import UNDER_WAY, Batch
from smstracker.models.messages import Message

# Made once, as each send runs them.
_OF_OWNER: BindParameter[int] = bindparam("owner_id")
_NOW = StatementTime()
_SUM_TO_COME = select(func.sum(Batch.good_count - Batch.queued_count)).where(
    Batch.owner_id == _OF_OWNER, Batch.state.in_(UNDER_WAY)
)


def _select_newest(period: timedelta) -> Select[tuple[datetime]]:
    newest = Message.select_creation_times(_OF_OWNER, _NOW, period)
    return newest.offset(bindparam("offset")).limit(bindparam("count"))


# The limit of a minute is for people who press too often; a batch has its pace.
_NEWEST_OF_MINUTE = _select_newest(MINUTE).where(Message.batch_id.is_(None))
_NEWEST_OF_DAY = _select_newest(DAY)


class NotSavedError(Exception):
    """The message is not saved."""


class SendLimitError(NotSavedError):
    """The user has sent `limit` messages in a `period`, or batches have still to send `to_come` of
    them; the next may be sent after `wait`.
    """

    def __init__(self, limit: int, period: str, wait: timedelta, to_come: int = 0) -> None:
        super().__init__("the send limit is reached")
        self.limit, self.period, self.wait, self.to_come = limit, period, wait, to_come

    @property
    def words(self) -> str:
        """The limit: "100 messages in a day"."""
        to_come = f", {self.to_come:,} of them still to be sent by batches" if self.to_come else ""
        return f"{self.limit:,} messages in a {self.period}{to_come}"


def count_to_come(owner_id: int) -> int:
    """Count the messages that the batches of an owner that are under way have still to make.

    To be read before the messages: one that is made meanwhile may count twice, but is not missed.
    """
    return db.session.connection().scalar(_SUM_TO_COME, {"owner_id": owner_id}) or 0


class SendAllowance:
    """How many messages an owner may save now, of `size`.

    A batch counts in the limit of the day with all its messages from its start on.
    """

    def __init__(self, owner_id: int, size: int, now: datetime) -> None:
        self._rest = size
        self._error: SendLimitError | None = None
        to_come = count_to_come(owner_id)
        connection = db.session.connection()
        for limit, period, width, reserved, newest in (
            (settings().send_limit_per_minute, "minute", MINUTE, 0, _NEWEST_OF_MINUTE),
            (settings().send_limit_per_day, "day", DAY, to_come, _NEWEST_OF_DAY),
        ):
            free = max(limit - reserved, 0)
            # Those before the newest `free - size` keep the owner from saving so many more.
            window = {"offset": max(free - size, 0), "count": min(size, free)}
            parameters = {"owner_id": owner_id, **window, **_NOW.values(now)}
            blocking = connection.scalars(newest, parameters).all()
            rest = min(size, free) - len(blocking)
            if rest < self._rest:
                # The oldest that counts has to be past, or one of those that are saved now.
                blocked_since = blocking[-1] if blocking else now
                wait = blocked_since + width - now
                self._rest, self._error = rest, SendLimitError(limit, period, wait, reserved)

    def error(self) -> SendLimitError | None:
        """Why no further message may be saved; None if one may."""
        return self._error if self._rest <= 0 else None

    def take(self) -> None:
        self._rest -= 1
