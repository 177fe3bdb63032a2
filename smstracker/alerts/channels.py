"""Ways to people: mail, a signed webhook, and the heartbeat that an outside service waits for.

No address of a webhook or heartbeat appears in an error or a log: it may hold a secret.
"""

import json

from standardwebhooks import Webhook

from smstracker.alerts.heartbeat_answer import MAX_BYTES, find_rejection
from smstracker.alerts.notice import Notice
from smstracker.clock import utcnow
from smstracker.extensions import settings
from smstracker.mailer import MailError, current_mailer
from smstracker.models.alerts import WEBHOOK
from smstracker.network_errors import explain_mail_error, network_reason


class ChannelError(Exception):
    """A notice was not taken; the text says why, without an address."""


def configured_channels() -> tuple[str, ...]:
    """The channels that are set: addresses, and WEBHOOK."""
    return (*settings().alert_email, *([WEBHOOK] if settings().alert_webhook_url else []))


def send(channel: str, notice: Notice) -> None:
    """Send a notice. Raises ChannelError."""
    if channel == WEBHOOK:
        _post(notice)
    else:
        _mail(channel, notice)


def fetch_heartbeat() -> None:
    """Fetch HEARTBEAT_URL, if it is set. Raises ChannelError, also if the answer is a rejection."""
    if url := settings().heartbeat_url:
        answer = _request("GET", url, read_bytes=MAX_BYTES)
        if reason := find_rejection(answer):
            raise ChannelError(reason)


def _mail(address: str, notice: Notice) -> None:
    try:
        current_mailer().send(address, notice.subject, notice.text)
    except MailError as error:
        raise ChannelError(explain_mail_error(str(error)).reason) from None


def _post(notice: Notice) -> None:
    """Post the notice as JSON, signed by Standard Webhooks (HMAC-SHA256)."""
    url, secret = settings().alert_webhook_url, settings().alert_webhook_secret
    if url is None or secret is None:
        raise ChannelError("it is not set")
    now = utcnow()
    payload = {
        "type": notice.event_type,
        "timestamp": now.isoformat(timespec="seconds"),
        "data": {"title": notice.title, "text": notice.text, **notice.facts},
    }
    body = json.dumps(payload)
    headers = {
        "content-type": "application/json",
        "webhook-id": notice.id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign(notice.id, now, body),
    }
    _request("POST", url, body, headers)


def _request(
    method: str,
    url: str,
    body: str | None = None,
    headers: dict[str, str] | None = None,
    *,
    read_bytes: int = 0,
) -> bytes:
    """Make a request whose redirect is not followed; the beginning of its answer.

    It takes half a minute at most, however slowly the server answers.
    """
    # For the worker: web processes import this module, and never ask.
    from requests import Session

    from smstracker.carrier.http_client import READ_TIMEOUT, limit_answers

    try:
        with (
            limit_answers(Session()) as session,
            session.request(
                method,
                url,
                data=body,
                headers=headers,
                timeout=READ_TIMEOUT,
                allow_redirects=False,
                stream=True,
            ) as response,
        ):
            status = response.status_code
            answer = next(response.iter_content(read_bytes), b"") if read_bytes else b""
    except (OSError, ValueError) as error:  # those of requests are OSErrors
        raise ChannelError(network_reason(error)) from None
    if not 200 <= status < 300:
        raise ChannelError(f"it answers {status}")
    return answer
