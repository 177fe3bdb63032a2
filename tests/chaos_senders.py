"""People who send through the web form, and who repeat a form until it got through."""

import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import requests

from tests.clients import hidden

PATIENCE = 120.0  # seconds for one form
PAUSE = 0.1


@dataclass(frozen=True, slots=True)
class Form:
    """What somebody wants to send. Every text is another one."""

    recipient: str
    body: str


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
        """Repeat the form until its message is shown; how often that was necessary."""
        fields = {"recipient": form.recipient, "body": form.body, "sender": "+15005550006"}
        fields |= {"csrf_token": self._token, "form_id": str(uuid.uuid4())}
        deadline, repeats = time.monotonic() + PATIENCE, 0
        while not self._gets_through(fields):
            assert time.monotonic() < deadline, f"{form.body} did not get through"
            repeats += 1
            threading.Event().wait(PAUSE)
        return repeats

    def close(self) -> None:
        self._browser.close()

    def _gets_through(self, fields: dict[str, str]) -> bool:
        try:
            answer = self._post(f"{self._url}/messages", **fields)
        except requests.RequestException:
            return False
        shown = answer.status_code == 303 and "/messages/" in answer.headers["Location"]
        assert shown or answer.status_code >= 500, f"{answer.status_code}: {answer.text}"
        return shown

    def _csrf_token(self, url: str) -> str:
        return hidden(self._browser.get(url, timeout=30).text, "csrf_token")

    def _post(self, url: str, **fields: str) -> requests.Response:
        return self._browser.post(url, data=fields, allow_redirects=False, timeout=30)


class Crowd:
    """Several senders at once work through the forms, each form sent by one of them."""

    def __init__(self, senders: Sequence[Sender], forms: Sequence[Form]) -> None:
        self.repeats = 0
        self._forms = iter(forms)
        self._total = len(forms)
        self._sent = 0
        self._failure: BaseException | None = None
        self._changed = threading.Condition()
        self._threads = [threading.Thread(target=self._work, args=(each,)) for each in senders]
        for thread in self._threads:
            thread.start()

    def wait_for_next(self, count: int) -> None:
        """Return when that many more forms got through, or when none are left or can be sent."""
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
            while (form := self._next()) is not None:
                self._note(sender.send(form))
        except BaseException as failure:
            with self._changed:
                self._failure = failure
                self._changed.notify_all()
        finally:
            sender.close()

    def _next(self) -> Form | None:
        with self._changed:
            return None if self._failure else next(self._forms, None)

    def _note(self, repeats: int) -> None:
        with self._changed:
            self._sent += 1
            self.repeats += repeats
            self._changed.notify_all()
