"""Programs: what calls the API with a token of a user, and without a cookie."""

import uuid
from datetime import timedelta
from typing import Any

from flask import Flask
from sqlalchemy import select
from werkzeug.test import TestResponse

from smstracker.extensions import db
from smstracker.models import Message, User
from smstracker.models.api_tokens import TokenRights, add_token
from smstracker.models.users import get_or_create_user

TO = "+15558675310"
SENDER = "+15005550006"


class Program:
    """A program with a token of the user of an address."""

    def __init__(
        self,
        app: Flask,
        email: str = "alice@example.org",
        rights: TokenRights | None = None,
        lifetime: timedelta | None = None,
        name: str | None = None,
    ) -> None:
        self.app, self.email = app, email
        with app.app_context():
            owner = db.session.scalar(User.select_by_email(email)) or get_or_create_user(email)
            name = name or uuid.uuid4().hex
            token, secret = add_token(owner, name, rights or TokenRights(), lifetime, "tests")
            db.session.commit()
            self.secret, self.token_id, self.owner_id = secret, token.id, owner.id
        self.headers = {"Authorization": f"Bearer {self.secret}"}

    def call(self, method: str, path: str, **options: Any) -> TestResponse:
        headers = self.headers | options.pop("headers", {})
        client = self.app.test_client(use_cookies=False)
        return client.open(path, method=method, headers=headers, **options)

    def get(self, path: str, **options: Any) -> TestResponse:
        return self.call("GET", f"/api/v1/{path}", **options)

    def post(self, path: str, **options: Any) -> TestResponse:
        return self.call("POST", f"/api/v1/{path}", **options)

    def send(
        self, key: str | None = None, headers: dict[str, str] | None = None, **fields: Any
    ) -> TestResponse:
        """Send a message; a field that is None is left out."""
        body = {"to": TO, "text": "Hello"} | fields
        body = {name.rstrip("_"): value for name, value in body.items() if value is not None}
        headers = {"Idempotency-Key": key or uuid.uuid4().hex, **(headers or {})}
        return self.post("messages", json=body, headers=headers)

    def messages(self) -> list[Message]:
        """The messages of the token's owner, oldest first."""
        with self.app.app_context():
            query = select(Message).where(Message.owner_id == self.owner_id)
            return list(db.session.scalars(query.order_by(Message.id)))
