"""Status updates as callbacks tell them, and writers that store them in groups."""

from threading import current_thread

from werkzeug.datastructures import MultiDict

from smstracker.callback_requests.status_callback import VerifiedCallback, read_callback
from smstracker.carrier.signatures import Signer
from smstracker.models import Message
from smstracker.models.events import StatusUpdate
from smstracker.webhooks.writer import Callback, CallbackWriter, PendingWrite
from tests.signing import ACCOUNT_SID, fields, sid

SIGNER = Signer(ACCOUNT_SID, "primary")


def status_update(number: int, word: str) -> StatusUpdate:
    callback = VerifiedCallback(MultiDict(fields(sid(number), word)), SIGNER, "")
    update = read_callback(callback, None)
    assert update is not None
    return update


def callback_of(message: Message | None, update: StatusUpdate) -> Callback:
    """A callback to the address of a message, or to that of all."""
    return Callback(message.public_id if message else None, update)


def enqueue(callback_writer: CallbackWriter, *writes: PendingWrite) -> None:
    """Have a writer without a thread of its own store these as one group."""
    callback_writer._thread = current_thread()
    for write in writes:
        (
            callback_writer._callbacks
            if isinstance(write.item, Callback)
            else callback_writer._refusals
        ).put(write)


def store(
    callback_writer: CallbackWriter, update: StatusUpdate, message: Message | None = None
) -> PendingWrite:
    write = callback_writer.write(callback_of(message, update))
    callback_writer.start()
    return write
