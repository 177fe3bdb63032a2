"""The worker job that has Twilio redact or delete what was blanked or deleted here.

It yields before each request, for the rate that it shares with the look-ups. What fails is tried
again, ever later, and in the end left for a person to see.
"""

import logging
from collections.abc import Iterator
from datetime import datetime, timedelta

from smstracker.carrier import Carrier, current_carrier
from smstracker.carrier.errors import (
    MAX_CONSECUTIVE_FAILURES,
    CarrierBusyError,
    CarrierQueryError,
    CredentialsRefusedError,
    NotFoundAtCarrierError,
    QueryRefusedError,
)
from smstracker.clock import utcnow
from smstracker.database.engine import reading_connection
from smstracker.extensions import db
from smstracker.models import CarrierRemoval, Erasure, RemovalCounter
from smstracker.models.carrier_removals import MAX_RETRY_DELAY, CarrierAction
from smstracker.models.removals import CounterName

log = logging.getLogger(__name__)

FIRST_RETRY_DELAY = timedelta(minutes=2)
MAX_TRIES = 20  # in about two weeks
OTHER_ACCOUNT = "It is a message of another account, whose token is not set here."


def remove_at_carrier(_last_done: datetime | None) -> Iterator[None]:
    """Ask Twilio to remove what is due. Raises CarrierQueryError if Twilio cannot be asked."""
    failures = 0
    while (removal := _read_due()) is not None:
        yield
        error = _remove(removal)
        if error and _is_of_message(error, removal):
            error = None
        failures = failures + 1 if error else 0
        if error and (isinstance(error, CarrierBusyError) or failures == MAX_CONSECUTIVE_FAILURES):
            raise error


def _is_of_message(error: CarrierQueryError, removal: CarrierRemoval) -> bool:
    """Whether Twilio can be asked, although it refused this: for now, or for a closed account."""
    is_ours = removal.account_sid in (None, current_carrier().account_sid)
    is_of_account = isinstance(error, CredentialsRefusedError) and not is_ours
    return is_of_account or isinstance(error, QueryRefusedError)


def _read_due() -> CarrierRemoval | None:
    with reading_connection(db.engine) as connection:
        return CarrierRemoval.read_due(connection, utcnow())


def _remove(removal: CarrierRemoval) -> CarrierQueryError | None:
    """Have one message removed; the error if that failed."""
    carrier, now = current_carrier(), utcnow()
    try:
        _ask(carrier, removal)
    except NotFoundAtCarrierError as error:
        if not carrier.signatures.has_token_for(removal.account_sid or carrier.account_sid):
            with db.engine.begin() as connection:
                removal.postpone(connection, None, OTHER_ACCOUNT)
            fields = {"message_sid": removal.twilio_sid, "reason": OTHER_ACCOUNT}
            log.warning("removal_failed", extra=fields)
            return None
        log.info("already_gone", extra={"message_sid": removal.twilio_sid, "reason": error.reason})
    except CarrierQueryError as error:
        fields = {"message_sid": removal.twilio_sid, "reason": error.reason}
        log.warning("removal_failed", extra=fields)
        wait = min(FIRST_RETRY_DELAY * 2**removal.tries, MAX_RETRY_DELAY)
        is_last = removal.tries + 1 >= MAX_TRIES and not isinstance(error, CarrierBusyError)
        with db.engine.begin() as connection:
            removal.postpone(connection, None if is_last else now + wait, error.reason)
        return error
    is_deletion = removal.action == CarrierAction.DELETE
    counter = CounterName.DELETED_AT_TWILIO if is_deletion else CounterName.REDACTED_AT_TWILIO
    with db.engine.begin() as connection:
        receipt = removal.finish(connection)
        RemovalCounter.add(connection, counter, 1)
        if receipt:
            Erasure.count(connection, receipt, {"deleted_at_twilio": 1})
    return None


def _ask(carrier: Carrier, removal: CarrierRemoval) -> None:
    sid, account_sid = removal.twilio_sid, removal.account_sid
    if removal.action == CarrierAction.DELETE:
        carrier.delete(sid, account_sid)
        return
    carrier.redact(sid, account_sid)
    if removal.action == CarrierAction.CLEAR:
        carrier.delete_pictures(sid, account_sid)
