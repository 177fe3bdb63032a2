"""The pages of a demo say that nothing is sent."""

import shutil
import uuid
from pathlib import Path

from config import load
from smstracker import create_app
from smstracker.extensions import db
from smstracker.models import message_drafts
from smstracker.models.messages import Content
from smstracker.settings.twilio import DEMO_PHONE_NUMBER
from tests.clients import Client, Person, words
from tests.serving import close


def test_every_page_of_the_demo_says_that_it_is_simulated(
    migrated_sqlite: Path, tmp_path: Path
) -> None:
    shutil.copy(migrated_sqlite, tmp_path / "demo.sqlite")
    app = create_app(load({}, instance=tmp_path))
    app.test_client_class = Client
    newcomer = Person.signed_in(app, "me@home.example")
    with app.app_context():
        message = message_drafts.create_pending(
            newcomer.id, uuid.uuid4(), Content("+15005550006", "+15005550006", "x")
        )
        message.price_micros, message.price_unit = 7900, "USD"
        db.session.commit()
        path = f"/messages/{message.public_id}"
    failed = newcomer.has_message(
        sender=DEMO_PHONE_NUMBER, status="undelivered", error_code="30003"
    )
    again = f"/messages/{failed.public_id}/again"
    visitor = Person(app, "nobody@home.example")
    for person, paths in (
        (newcomer, ["/messages", "/messages/new", path, "/auth/mailbox", "/no/such/page"]),
        (visitor, ["/auth/sign-in", "/auth/link/x", "/auth/mailbox"]),
    ):
        for one in paths:
            assert "Simulated carrier: no SMS leaves this machine" in person.get(one).text, one
    assert "0.0079 USD (simulated: nothing is charged)" in words(newcomer.get(path).text)
    assert "simulated: nothing is charged" in words(newcomer.get("/insights").text)
    assert "It is simulated and costs nothing" in words(newcomer.get(again).text)
    assert "Delivered with a warning" in newcomer.get("/messages/new").text
    close(app)
