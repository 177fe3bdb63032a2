"""The hand-over of what waits in the outbox, without the threads of a worker."""

from flask import Flask

from smstracker.messages.result_writer import SendResultWriter
from smstracker.messages.sending import submit_from_outbox
from smstracker.models.outbox import OutboxMessage
from smstracker.worker.hand_over import claim_sendable, submit_claimed


def dispatch(app: Flask) -> None:
    """Hand over what may go now, one after the other."""
    with app.app_context():
        for message in claim_sendable(10):
            submit_claimed([message], submit)


def submit(message: OutboxMessage) -> None:
    submit_from_outbox(message, SendResultWriter())
