"""What people upload: a file, a text and a sender become one batch, however often it is sent."""

import uuid
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from smstracker.clock import utcnow
from smstracker.extensions import db
from smstracker.models.batches import NAME_LENGTH, Batch, BatchFile, BatchState
from smstracker.models.tombstones import HashedKind, keyed_hash
from smstracker.sms.quiet_hours import QuietHours


@dataclass(frozen=True, slots=True)
class PackedFile:
    """A file as it is stored: compressed parts, and the digest of its bytes."""

    digest: str
    parts: Sequence[bytes]


def pack_file(parts: Iterable[bytes]) -> PackedFile:
    """Compress a file. To be done before a transaction begins: it takes time."""
    digest, packed = sha256(), []
    for part in parts:
        digest.update(part)
        packed.append(zlib.compress(part, 1))
    return PackedFile(digest.hexdigest(), packed)


@dataclass(frozen=True, slots=True)
class Upload:
    """A file of people, and what is to be sent to them."""

    name: str
    text: str
    sender: str
    file: PackedFile
    quiet_hours: QuietHours | None = None
    phone_column: str | None = None


def store_upload(
    owner_id: int, idempotency_key: uuid.UUID, upload: Upload, start_count: int | None = None
) -> tuple[Batch, bool]:
    """Save a batch to be checked; return it and whether it is new. The caller commits.

    The same form, or a file that waits with the same text, is the batch that exists. With
    `start_count`, the batch starts by itself if so many messages can be sent.
    """
    upload_hash = hash_upload(owner_id, upload)
    batch = Batch.find_same(owner_id, idempotency_key, upload_hash)
    if batch is not None:
        return batch, False
    batch = Batch(
        owner_id=owner_id,
        idempotency_key=idempotency_key,
        name=upload.name[:NAME_LENGTH],
        text=upload.text,
        sender=upload.sender,
        state=BatchState.CHECKING,
        created_at=utcnow(),
        upload_hash=upload_hash,
        phone_column=upload.phone_column,
        start_count=start_count,
    )
    batch.set_quiet_hours(upload.quiet_hours)
    db.session.add(batch)
    db.session.flush()
    BatchFile.store(batch.id, upload.file.parts)
    return batch, True


def hash_upload(owner_id: int, upload: Upload) -> bytes:
    """A keyed hash of the file, the text and the sender."""
    parts = (owner_id, "upload", upload.sender, upload.text, upload.file.digest)
    return keyed_hash(db.session.connection(), HashedKind.CONTENT, *parts)


def choose(batch: Batch, *, sheet_name: str | None = None, phone_column: str | None = None) -> bool:
    """Have a refused file checked again with what people chose; False if that was not asked."""
    if batch.state != BatchState.REFUSED or (sheet_name or phone_column) not in batch.choices:
        return False
    batch.sheet_name = sheet_name or batch.sheet_name
    batch.phone_column = phone_column or batch.phone_column
    batch.state, batch.problem, batch.choices = BatchState.CHECKING, None, []
    return True


def discard(batch: Batch) -> bool:
    """Give up a batch that was never started; False if it was. A worker deletes its rows."""
    if batch.is_started:
        return False
    BatchFile.remove(db.session.connection(), [batch.id])
    # Its form may be sent once more.
    batch.state, batch.idempotency_key = BatchState.DISCARDED, uuid.uuid4()
    return True
