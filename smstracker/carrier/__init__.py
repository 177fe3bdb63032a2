"""Twilio, and nothing else of ours knows it: send a message, ask about it, verify a signature.

Plain values in and out. What a create call can come to is an `Answer` or one of three errors.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from threading import BoundedSemaphore
from typing import Any, TypeVar
from urllib.parse import urlsplit

from flask import Flask, current_app
from requests.exceptions import RequestException
from twilio.rest import Client
from twilio.rest.api.v2010.account import AccountContext

from config import TWILIO_API, Config, is_loopback
from smstracker.carrier import checkup
from smstracker.carrier.answers import Answer, read_answer
from smstracker.carrier.checkup import Ability, Account
from smstracker.carrier.errors import (
    API_ERRORS,
    BusyError,
    CarrierError,
    GoneError,
    InquiryError,
    OutcomeUnknownError,
    RefusedError,
    UnreachedError,
    create_broken,
    create_refused,
    inquiry_failed,
)
from smstracker.carrier.http_client import new_client
from smstracker.carrier.signatures import Signatures, Signer
from smstracker.waiting import waiting_threads

__all__ = [
    "Ability",
    "Account",
    "Answer",
    "BusyError",
    "Carrier",
    "CarrierError",
    "GoneError",
    "InquiryError",
    "NoSlotError",
    "OutcomeUnknownError",
    "RefusedError",
    "Signer",
    "TwilioIsSlowError",
    "UnreachedError",
    "current_carrier",
]

log = logging.getLogger(__name__)

CALLBACK_URL_REFUSED = 21609
PAGE_SIZE = 1000

# Without this, a callback that meets a 503 or a slow moment is lost: Twilio's default is one retry,
# and only of a failed connection. Everything has to fit into 15 s, hence the short time-outs.
RETRY_FRAGMENT = "#rc=5&rp=ct,rt,5xx&ct=2000&rt=2500"

T = TypeVar("T")


class NoSlotError(Exception):
    """Too many requests wait already, for Twilio or for their readers."""


class TwilioIsSlowError(NoSlotError):
    """As many requests wait for Twilio as may do so at once."""


class Carrier:
    """One client for a process; safe to use from several threads."""

    def __init__(self, config: Config) -> None:
        client = new_client()
        if is_loopback(urlsplit(config.twilio_api_base_url).hostname or ""):
            # What is meant for this machine must not go out by a proxy of the environment.
            client.session.trust_env = False
        self._client = Client(
            config.twilio_account_sid, config.twilio_auth_token, http_client=client
        )
        # The client reads both from the environment, and would rewrite any host by them.
        self._client.edge, self._client.region = config.twilio_edge, config.twilio_region
        self._client.api.base_url = config.twilio_api_base_url
        if config.twilio_api_base_url != TWILIO_API:
            self._client.messaging.base_url = config.twilio_api_base_url
        self._account_sid = config.twilio_account_sid
        self._slots = BoundedSemaphore(max(config.web_threads // 2, 1))
        self.signatures = Signatures(config)

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Room for a request of a browser that asks Twilio. Raises NoSlotError.

        Twilio may hang: half of the threads always stay for what does not wait for it.
        """
        if not self._slots.acquire(blocking=False):
            raise TwilioIsSlowError
        waiting = waiting_threads()
        if not waiting.enter():
            self._slots.release()
            raise NoSlotError
        try:
            yield
        finally:
            waiting.leave()
            self._slots.release()

    def send(
        self,
        *,
        to: str,
        sender: str | None,
        messaging_service_sid: str | None,
        body: str,
        media_urls: list[str],
        status_callback: str,
    ) -> Answer:
        """Create a message, once. Raises RefusedError, UnreachedError or OutcomeUnknownError.

        If Twilio refuses the callback URL, nothing was created: it is sent again without one.
        """
        what: dict[str, Any] = {"to": to}
        what |= {"body": body} if body else {}
        what |= {"messaging_service_sid": messaging_service_sid} if messaging_service_sid else {}
        what |= {"from_": sender} if sender else {}
        what |= {"media_url": media_urls} if media_urls else {}
        try:
            return self._create(what | {"status_callback": status_callback + RETRY_FRAGMENT}, True)
        except RefusedError as error:
            if error.code != str(CALLBACK_URL_REFUSED):
                raise
        log.warning("callback_url_refused")
        try:
            return self._create(what, False)
        except CarrierError as error:
            error.callback_requested = False
            raise

    def _create(self, what: dict[str, Any], callback_requested: bool) -> Answer:
        try:
            made = self._client.messages.create(**what)
        except API_ERRORS as error:
            raise create_refused(error.status, error.code) from error
        except (RequestException, UnicodeEncodeError) as error:
            raise create_broken(error) from error
        except Exception as error:  # an answer that cannot be read may still mean "created"
            raise OutcomeUnknownError({"error": type(error).__name__}) from error
        answer = read_answer(made, callback_requested)
        if answer is None:
            raise OutcomeUnknownError({"error": "no SID in the answer"})
        return answer

    def fetch(self, sid: str, account_sid: str | None = None) -> Answer:
        """A message by its SID. Raises InquiryError; GoneError if Twilio has deleted it."""
        answer = _ask(lambda: read_answer(self._account(account_sid).messages(sid).fetch()))
        if answer is None or answer.sid != sid:
            raise InquiryError("Twilio's answer could not be read.")
        return answer

    def to_recipient(self, recipient: str, account_sid: str | None = None) -> Iterator[Answer]:
        """The messages to a number, newest first, those not yet sent too. Raises InquiryError."""
        messages = self._account(account_sid).messages
        return _ask_on(lambda: messages.stream(to=recipient, page_size=PAGE_SIZE))

    def sent_since(self, moment: datetime) -> Iterator[list[Answer]]:
        """The account's messages that were sent since `moment`, a request for each list.

        Raises InquiryError.
        """
        # The client would write an aware datetime with a Z and not convert it.
        since = moment.astimezone(UTC)
        messages = self._account(None).messages
        page = _ask(lambda: messages.page(date_sent_after=since, page_size=PAGE_SIZE))
        while page is not None:
            yield _readable(page)
            page = _ask(page.next_page)

    def account(self) -> Account:
        """Our account, which shows that the credentials are right. Raises InquiryError."""
        return _ask(lambda: checkup.fetch_account(self._client, self._account_sid))

    def ability(self, number: str) -> Ability:
        """Whether a phone number can send for us. Raises InquiryError."""
        return _ask(lambda: checkup.ability(self._client, self._account_sid, number))

    def check_service(self, service_sid: str) -> None:
        """Whether there is this Messaging Service. Raises InquiryError; GoneError if not."""
        _ask(lambda: checkup.fetch_service(self._client, service_sid))

    def _account(self, account_sid: str | None) -> AccountContext:
        return self._client.api.v2010.accounts(account_sid or self._account_sid)


def _ask(question: Callable[[], T]) -> T:
    try:
        return question()
    except Exception as error:
        raise inquiry_failed(error) from error


def _readable(page: Iterator[Any]) -> list[Answer]:
    answers = _ask(lambda: [read_answer(record) for record in page])
    return [answer for answer in answers if answer is not None]


def _ask_on(question: Callable[[], Iterator[Any]]) -> Iterator[Answer]:
    """The readable answers of a list; a page that cannot be had ends it with an error."""
    found = _ask(question)
    while True:
        made = _ask(lambda: next(found, None))
        if made is None:
            return
        answer = read_answer(made)
        if answer is not None:
            yield answer


def init_app(app: Flask) -> None:
    app.extensions["carrier"] = Carrier(app.config["SETTINGS"])


def current_carrier() -> Carrier:
    carrier: Carrier = current_app.extensions["carrier"]
    return carrier
