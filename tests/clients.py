"""Users with a browser: signed in, with its cookies and CSRF tokens."""

import html
import re
import uuid
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select
from werkzeug.test import TestResponse

from smstracker.clock import utcnow
from smstracker.extensions import db, writing
from smstracker.models import Message, SignInToken, StatusEvent, User, message_drafts
from smstracker.models.messages import Content, reverse_digits
from smstracker.models.sign_in import find_signed_in_user

SESSION_COOKIE = "smstracker_session"  # its name without HTTPS


class Client(FlaskClient):
    """A test client at the app's public URL, where cookies are Secure."""

    def open(self, *args: Any, **kwargs: Any) -> TestResponse:
        kwargs.setdefault("base_url", self.application.config["SETTINGS"].public_base_url)
        return super().open(*args, **kwargs)


def hidden(page: str, name: str) -> str:
    """The value of a hidden field of a page."""
    tag = re.search(rf'<input[^>]*name="{name}"[^>]*>', page)
    assert tag, f"no field {name}\n{page}"
    value = re.search(r'value="([^"]*)"', tag[0])
    return value[1] if value else ""


def words(page: str) -> str:
    """The text of a page, without its markup."""
    body = re.sub(r"</?span[^>]*>", "", page.partition("<main")[2] or page)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())


class Person:
    """A user and their browser."""

    def __init__(self, app: Flask, email: str) -> None:
        self.app = app
        self.email = email
        self.client = app.test_client()

    @classmethod
    def signed_in(cls, app: Flask, email: str) -> "Person":
        """A user signed in as by a link, at less cost than its pages."""
        person = cls(app, email)
        with app.app_context():
            user = find_signed_in_user(SignInToken(email=email))
            assert user, f"{email} may not sign in"
            db.session.commit()
        base_url = app.config["SETTINGS"].public_base_url
        with person.client.session_transaction(base_url=base_url) as session:
            session.permanent = True
            session["_user_id"], session["_fresh"] = user.get_id(), True
        return person

    @property
    def session_cookie(self) -> str:
        cookie = self.client.get_cookie(SESSION_COOKIE, domain="127.0.0.1")
        assert cookie
        return cookie.value

    @property
    def id(self) -> int:
        with self.app.app_context():
            return db.session.scalars(select(User.id).where(User.email == self.email)).one()

    def get(self, path: str, **kwargs: Any) -> TestResponse:
        return self.client.get(path, **kwargs)

    def post(self, path: str, form: dict[str, Any] | None = None, **kwargs: Any) -> TestResponse:
        """Post with the CSRF token of `page`, by default that of the path."""
        page = kwargs.pop("page", path)
        text = self.get(page).text
        if "csrf_token" not in text:  # such as the page of a dead link
            text = self.get("/auth/sign-in").text
        token = hidden(text, "csrf_token")
        return self.client.post(path, data={"csrf_token": token, **(form or {})}, **kwargs)

    def compose(self, **fields: Any) -> dict[str, Any]:
        """The fields of a new send form, filled in."""
        page = self.get("/messages/new").text
        form = {name: hidden(page, name) for name in ("csrf_token", "form_id")}
        form |= {"recipient": "+1 555 867 5310", "sender": "+15005550006", "body": "Hello"}
        return form | fields

    def send(self, **fields: Any) -> TestResponse:
        return self.client.post("/messages", data=self.compose(**fields))

    def messages(self) -> list[Message]:
        """This user's messages, oldest first."""
        with self.app.app_context():
            query = select(Message).join(User).where(User.email == self.email)
            return list(db.session.scalars(query.order_by(Message.id)))

    def message(self) -> Message:
        """This user's only message."""
        [message] = self.messages()
        return message

    def events(self, message: Message) -> list[StatusEvent]:
        with self.app.app_context():
            return list(db.session.scalars(StatusEvent.select_for_message(message.id)))

    def has_message(self, **columns: Any) -> Message:
        """Store a message of this user as sent, without sending it."""
        with self.app.app_context():
            owner = db.session.scalars(select(User).where(User.email == self.email)).one()
            content = Content("+15558675310", "+15005550006", "Hello")
            message = message_drafts.create_pending(owner.id, uuid.uuid4(), content)
            for name, value in ({"status": "queued"} | columns).items():
                setattr(message, name, value)
            message.recipient_reversed = reverse_digits(message.recipient)
            db.session.commit()
            return message

    def queue(self, number: int = 0, sender: str = "+15005550006", **columns: Any) -> Message:
        """Queue a message of this user; `number` ends the recipient's."""
        content = Content(f"+1555867{number:04}", sender, columns.pop("body", "Hello"))
        key, send_at = columns.pop("key", None) or uuid.uuid4(), columns.pop("send_at", None)
        with self.app.app_context(), writing():
            message = message_drafts.create_queued(self.id, key, content, send_at=send_at)
            for name, value in columns.items():
                setattr(message, name, value)
            return message

    def has_opt_out(self, **columns: Any) -> int:
        """Store a message that an opt-out refused; return the id of its event."""
        message = self.has_message(**({"status": "refused", "error_code": "21610"} | columns))
        with self.app.app_context():
            event = StatusEvent(message_id=message.id, status="refused", error_code="21610")
            event.source, event.payload, event.received_at = "send", {}, utcnow()
            db.session.add(event)
            db.session.commit()
            return event.id
