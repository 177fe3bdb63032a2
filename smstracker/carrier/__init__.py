"""The only interface to Twilio: send and query messages, verify signatures; plain values only.

A create call gives a `CarrierMessage` or raises one of three `CarrierError`s.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import cached_property
from threading import BoundedSemaphore, Lock
from typing import TYPE_CHECKING, ParamSpec, TypeVar, cast
from urllib.parse import urlsplit

from flask import Flask, current_app

from smstracker.carrier import account_checks, errors
from smstracker.carrier.carrier_message import CarrierMessage, read_carrier_message
from smstracker.carrier.signatures import Signatures
from smstracker.settings.addresses import TWILIO_API, is_loopback
from smstracker.web.waiting_threads import waiting_threads

if TYPE_CHECKING:
    from twilio.rest import Client
    from twilio.rest.api.v2010.account import AccountContext
    from twilio.rest.api.v2010.account.message import MessageList

    from config import Config

log = logging.getLogger(__name__)

INVALID_CALLBACK_URL = 21609
PAGE_SIZE = 1000

# Twilio's default is one retry, of failed connections only, so a callback that meets a 503 or a
# slow answer would be lost. All attempts must fit into 15 s, hence the short time-outs.
CONNECTION_OVERRIDES = "#rc=5&rp=ct,rt,5xx&ct=2000&rt=2500"

P = ParamSpec("P")
T = TypeVar("T")


class TooManyRequestsError(Exception):
    """Too many requests of browsers are waiting, for Twilio or for their readers."""


class CarrierIsSlowError(TooManyRequestsError):
    """As many requests are waiting for Twilio as may at once."""


class Carrier:
    """Client for Twilio, one for a process. Thread safe."""

    def __init__(self, config: "Config") -> None:
        self._config = config
        self._client_lock = Lock()
        self.account_sid = config.twilio_account_sid
        self._slots = BoundedSemaphore(max(config.web_threads // 2, 1))
        self.signatures = Signatures(config)

    @property
    def _client(self) -> "Client":
        with self._client_lock:
            return self._first_client

    @cached_property
    def _first_client(self) -> "Client":
        """Twilio's client, loaded with the first request: 15 MB that callbacks do not need."""
        from twilio.rest import Client

        from smstracker.carrier.http_client import new_client

        config, http = self._config, new_client()
        if is_loopback(urlsplit(config.twilio_api_base_url).hostname or ""):
            # Requests to this machine must not go to a proxy of the environment.
            http.session.trust_env = False
        client = Client(config.twilio_account_sid, config.twilio_auth_token, http_client=http)
        # Set both: the client reads them from the environment and rewrites any host by them.
        client.edge, client.region = config.twilio_edge, config.twilio_region
        client.api.base_url = config.twilio_api_base_url
        return client

    @contextmanager
    def limit_requests(self) -> Iterator[None]:
        """Limit the web requests that wait for Twilio to half of the threads, as Twilio may hang.

        Raises TooManyRequestsError.
        """
        with ExitStack() as stack:
            if not self._slots.acquire(blocking=False):
                raise CarrierIsSlowError
            stack.callback(self._slots.release)
            thread_counter = waiting_threads()
            if not thread_counter.enter():
                raise TooManyRequestsError
            stack.callback(thread_counter.leave)
            yield

    def send(
        self,
        *,
        to: str,
        sender: str | None,
        messaging_service_sid: str | None,
        body: str,
        media_urls: list[str],
        status_callback: str,
    ) -> CarrierMessage:
        """Create a message, once; without a callback if Twilio refuses its URL, which creates none.

        Raises RefusedError, CarrierUnreachableError or OutcomeUnknownError.
        """
        fields: dict[str, object] = {
            "to": to,
            "from_": sender,
            "messaging_service_sid": messaging_service_sid,
            "body": body,
            "media_url": media_urls,
        }
        parameters = {name: value for name, value in fields.items() if value}
        callback = {"status_callback": status_callback + CONNECTION_OVERRIDES}
        try:
            return self._create(parameters | callback, callback_requested=True)
        except errors.RefusedError as error:
            if error.code != str(INVALID_CALLBACK_URL):
                raise
        log.warning("callback_url_refused")
        try:
            return self._create(parameters, callback_requested=False)
        except errors.CarrierError as error:
            error.callback_requested = False
            raise

    def _create(self, parameters: dict[str, object], callback_requested: bool) -> CarrierMessage:
        # Loaded late, see `_first_client`, and before the request: afterwards it must not fail.
        from smstracker.carrier.client_errors import create_error
        from smstracker.carrier.http_client import begin_request

        begin_request()
        try:
            resource = self._client.messages.create(**parameters)
        except Exception as error:
            raise create_error(error) from error
        message = read_carrier_message(resource, callback_requested)
        if message is None:
            raise errors.OutcomeUnknownError({"error": "no SID in the answer"})
        return message

    def fetch(self, sid: str, account_sid: str | None = None) -> CarrierMessage:
        """Fetch a message by SID. Raises CarrierQueryError, NotFoundAtCarrierError if deleted."""
        resource = self._account(account_sid).messages(sid)
        message = _query(lambda: read_carrier_message(resource.fetch()))
        if message is None or message.sid != sid:
            raise errors.CarrierQueryError(errors.UNREADABLE_ANSWER)
        return message

    def list_by_recipient(self, number: str, account_sid: str | None) -> Iterator[CarrierMessage]:
        """The messages to a number, newest first, also unsent ones. Raises CarrierQueryError."""
        for page in _read_pages(self._account(account_sid).messages, to=number):
            yield from page

    def list_newest(self, account_sid: str | None) -> list[CarrierMessage]:
        """The newest PAGE_SIZE messages of an account, both ways. Raises CarrierQueryError."""
        return next(_read_pages(self._account(account_sid).messages))

    def iterate_sent(self, sent_after: datetime) -> Iterator[list[CarrierMessage]]:
        """The account's sent messages, by pages of one request each. Raises CarrierQueryError."""
        # The client appends a Z to an aware datetime without converting it.
        date_sent_after = sent_after.astimezone(UTC)
        return _read_pages(self._account(None).messages, date_sent_after=date_sent_after)

    def redact(self, sid: str, account_sid: str | None) -> None:
        """Delete the text of a final message at Twilio. Raises CarrierQueryError."""
        _query(self._account(account_sid).messages(sid).update, body="")

    def delete_pictures(self, sid: str, account_sid: str | None) -> None:
        """Delete the pictures of a message at Twilio. Raises CarrierQueryError."""
        for picture in _query(self._account(account_sid).messages(sid).media.list):
            _query(picture.delete)

    def delete(self, sid: str, account_sid: str | None) -> None:
        """Delete a final message and its pictures at Twilio. Raises CarrierQueryError."""
        _query(self._account(account_sid).messages(sid).delete)

    def fetch_account(self) -> account_checks.Account:
        """Fetch our account, which verifies the credentials. Raises CarrierQueryError."""
        return _query(account_checks.fetch_account, self._client, self.account_sid)

    def fetch_sender_ability(self, number: str) -> account_checks.SenderAbility:
        """Whether we can send from a phone number. Raises CarrierQueryError."""
        return _query(account_checks.fetch_sender_ability, self._client, self.account_sid, number)

    def require_messaging_service(self, service_sid: str) -> None:
        """Raise NotFoundAtCarrierError if the service does not exist, or CarrierQueryError."""
        messaging = self._client.messaging
        if self._config.twilio_api_base_url != TWILIO_API:
            messaging.base_url = self._config.twilio_api_base_url
        _query(messaging.v1.services(service_sid).fetch)

    def _account(self, account_sid: str | None) -> "AccountContext":
        return self._client.api.v2010.accounts(account_sid or self.account_sid)


def _query(request: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    from smstracker.carrier.client_errors import query_error  # late, see `_first_client`

    try:
        return request(*args, **kwargs)
    except Exception as error:
        raise query_error(error) from error


def _read_pages(messages: "MessageList", **filters: object) -> Iterator[list[CarrierMessage]]:
    """The readable messages of a list. Raises CarrierQueryError at a failed page."""
    page = _query(messages.page, page_size=PAGE_SIZE, **filters)
    while page is not None:
        yield list(filter(None, _query(list, map(read_carrier_message, page))))
        page = _query(page.next_page)


def init_app(app: Flask) -> None:
    app.extensions["carrier"] = Carrier(app.config["SETTINGS"])


def current_carrier() -> Carrier:
    return cast(Carrier, current_app.extensions["carrier"])
