"""Users who send through the web form and repeat a form until it is accepted."""

import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import requests

from smstracker.clock import utcnow
from tests.clients import hidden

FORM_SECONDS = 120.0  # seconds for one form
RETRY_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Form:
    """A message to send; every text is unique. One for `later` waits in the outbox."""

    recipient: str
    body: str
    is_later: bool = False


class Sender:
    """One signed-in user in a browser."""

    def __init__(self, url: str, sign_in_token: str) -> None:
        self._url = url
        self._browser = requests.Session()
        self._browser.trust_env = False
        link = f"{url}/auth/link/{sign_in_token}"
        answer = self._post(link, csrf_token=self._csrf_token(link))
        assert answer.status_code == 303, answer.text
        self._token = self._csrf_token(f"{url}/messages/new")

    def send(self, form: Form) -> int:
        """Post the form until its message is shown; the number of repetitions."""
        fields = {"recipient": form.recipient, "body": form.body, "sender": "+15005550006"}
        fields |= {"csrf_token": self._token, "form_id": str(uuid.uuid4())}
        deadline, repeats = time.monotonic() + FORM_SECONDS, 0
        while not self._is_sent(fields | (_later() if form.is_later else {})):
            assert time.monotonic() < deadline, f"{form.body} did not get through"
            repeats += 1
            threading.Event().wait(RETRY_SECONDS)
        return repeats

    def close(self) -> None:
        self._browser.close()

    def _is_sent(self, fields: dict[str, str]) -> bool:
        try:
            answer = self._post(f"{self._url}/messages", **fields)
        except requests.RequestException:
            return False
        is_shown = answer.status_code == 303 and "/messages/" in answer.headers["Location"]
        assert is_shown or answer.status_code >= 500, f"{answer.status_code}: {answer.text}"
        return is_shown

    def _csrf_token(self, url: str) -> str:
        return hidden(self._browser.get(url, timeout=30).text, "csrf_token")

    def _post(self, url: str, **fields: str) -> requests.Response:
        return self._browser.post(url, data=fields, allow_redirects=False, timeout=30)


def _later() -> dict[str, str]:
    """The fields of a time that has not come yet."""
    send_at = utcnow() + timedelta(hours=1)
    return {"send_day": f"{send_at:%Y-%m-%d}", "send_time": f"{send_at:%H:%M}"}


class SenderPool:
    """Senders on threads of their own that work through the forms."""

    def __init__(self, senders: Sequence[Sender], forms: Sequence[Form]) -> None:
        self.repeats = 0
        self._forms = iter(forms)
        self._total = len(forms)
        self._sent = 0
        self._failure: BaseException | None = None
        self._changed = threading.Condition()
        self._threads = [threading.Thread(target=self._work, args=(sender,)) for sender in senders]
        for thread in self._threads:
            thread.start()

    def wait_for_next(self, count: int) -> None:
        """Wait until `count` more forms are sent, or all of them, or a sender failed."""
        with self._changed:
            goal = min(self._sent + count, self._total)
            self._changed.wait_for(lambda: self._sent >= goal or self._failure is not None)

    def join(self) -> None:
        for thread in self._threads:
            thread.join()
        if self._failure is not None:
            raise self._failure

    def _work(self, sender: Sender) -> None:
        try:
            while (form := self._next_form()) is not None:
                self._record_sent(sender.send(form))
        except BaseException as failure:
            with self._changed:
                self._failure = failure
                self._changed.notify_all()
        finally:
            sender.close()

    def _next_form(self) -> Form | None:
        with self._changed:
            return None if self._failure else next(self._forms, None)

    def _record_sent(self, repeats: int) -> None:
        with self._changed:
            self._sent += 1
            self.repeats += repeats
            self._changed.notify_all()
