"""What people upload: a file, a text and a sender become one batch, however often it is sent."""

import uuid
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from smstracker.batches.encodings import OLD_ENCODINGS
from smstracker.clock import utcnow
from smstracker.extensions import db
from smstracker.models.batches import (
    LINES,
    MAX_DRAFT_BYTES,
    MAX_DRAFTS,
    NAME_LENGTH,
    UNSENT,
    Batch,
    BatchFile,
    BatchState,
)
from smstracker.models.tombstones import HashedKind, Tombstone, keyed_hash
from smstracker.sms.quiet_hours import QuietHours


@dataclass(frozen=True, slots=True)
class PackedFile:
    """A file as it is stored: compressed parts, and the digest of its content."""

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
    start_count: int | None = None  # it starts by itself if so many messages can be sent
    allows_repeats: bool = False  # also if numbers repeat
    allows_equal: bool = False  # also if an equal batch was sent before
    token_id: int | None = None  # of a program
    is_lines: bool = False  # pasted, a person each


class KeyReusedError(Exception):
    """The key has made a batch of another upload, or one that is deleted: then it is None.

    Nothing was saved now.
    """

    def __init__(self, batch: Batch | None) -> None:
        super().__init__("the key was used before")
        self.batch = batch


class TooManyDraftsError(Exception):
    """Too much is uploaded and not sent; the text says what to do. Nothing was saved now."""


def store_form(owner_id: int, form_key: uuid.UUID, upload: Upload) -> tuple[Batch, Batch | None]:
    """Save what a person uploads; return its batch, and the earlier one of the same form.

    There is an earlier one if the form was changed and sent again, as after Back in a browser. A
    file that waits already with the same text, sender and quiet hours is the batch that exists.
    """
    upload_hash = hash_upload(owner_id, upload)
    try:
        batch, _is_new = store_upload(owner_id, form_key, upload, joins_equal=True)
    except KeyReusedError as error:
        later_key = uuid.uuid5(form_key, upload_hash.hex())
        batch, _is_new = store_upload(owner_id, later_key, upload, joins_equal=True)
        return batch, error.batch
    return batch, None


def store_upload(
    owner_id: int, idempotency_key: uuid.UUID, upload: Upload, *, joins_equal: bool = False
) -> tuple[Batch, bool]:
    """Save a batch to be checked; return it and whether it was saved now. The caller commits.

    The same upload with the same key is the batch that exists; with `joins_equal`, also one with
    another key that is not sent yet. One that was refused and has no file any more gets it again,
    and is checked anew: what refused it may be over. Raises KeyReusedError, TooManyDraftsError.
    """
    upload_hash = hash_upload(owner_id, upload)
    batch = _find_batch(owner_id, idempotency_key, upload_hash, joins_equal=joins_equal)
    if batch and not _lacks_file(batch):
        return batch, False
    _check_room(owner_id, upload, is_new=batch is None)
    batch = batch or Batch(owner_id=owner_id, idempotency_key=idempotency_key)
    _copy_upload(batch, upload)
    batch.upload_hash = upload_hash
    db.session.add(batch)
    db.session.flush()
    BatchFile.store(batch.id, upload.file.parts)
    return batch, True


def _find_batch(
    owner_id: int, idempotency_key: uuid.UUID, upload_hash: bytes, *, joins_equal: bool
) -> Batch | None:
    """The batch that an upload has made already. Raises KeyReusedError."""
    if batch := Batch.find_by_key(owner_id, idempotency_key):
        if batch.state == BatchState.DISCARDED:
            raise KeyReusedError(None)
        if batch.upload_hash != upload_hash:
            raise KeyReusedError(batch)
        return batch
    connection = db.session.connection()
    key_hash = keyed_hash(connection, HashedKind.FORM, owner_id, idempotency_key)
    if Tombstone.find(connection, [key_hash]):
        raise KeyReusedError(None)
    return Batch.find_unsent(owner_id, upload_hash) if joins_equal else None


def _lacks_file(batch: Batch) -> bool:
    """Whether a batch was refused and its file is gone; nobody changes it until the end then.

    Where only the file was at fault and could be read in another way, it is kept.
    """
    if batch.state != BatchState.REFUSED or BatchFile.exists(batch.id):
        return False
    return Batch.lock(batch.id).state == BatchState.REFUSED


def _copy_upload(batch: Batch, upload: Upload) -> None:
    """Have a batch be what is uploaded now, and nothing that was found or chosen before."""
    batch.name, batch.text, batch.sender = upload.name[:NAME_LENGTH], upload.text, upload.sender
    batch.created_at, batch.claimed_until = utcnow(), None
    batch.phone_column, batch.sheet_name, batch.has_heading = upload.phone_column, None, None
    batch.encoding = LINES if upload.is_lines else None
    batch.once_per_number, batch.report = False, {}
    batch.set_quiet_hours(upload.quiet_hours)
    _check_again(batch)
    batch.start_count, batch.token_id = upload.start_count, upload.token_id
    batch.allows_repeats, batch.allows_equal = upload.allows_repeats, upload.allows_equal


def _check_room(owner_id: int, upload: Upload, *, is_new: bool) -> None:
    """Refuse more than one person may have waiting. Raises TooManyDraftsError."""
    count, size = Batch.count_drafts(owner_id), sum(map(len, upload.file.parts))
    if is_new and count >= MAX_DRAFTS:
        amount = f"{count} batches"
    elif Batch.sum_unsent_bytes(db.session.connection(), owner_id) + size > MAX_DRAFT_BYTES:
        amount = f"more than {MAX_DRAFT_BYTES // 1024**2} MB"
    else:
        return
    oldest = Batch.select_owned(owner_id).where(Batch.state.in_(UNSENT)).order_by(Batch.id).limit(1)
    batch = db.session.scalar(oldest)
    advice = (
        f"Send or delete some of them first, such as the oldest, “{batch.name}”."
        if batch
        else "What you deleted counts until it is gone, in minutes; what you stopped, for 30 days."
    )
    raise TooManyDraftsError(f"Nothing was saved: {amount} are uploaded and not sent. {advice}")


def hash_upload(owner_id: int, upload: Upload) -> bytes:
    """A keyed hash of all that decides who gets what, from whom and when."""
    quiet = upload.quiet_hours
    quiet_parts = (quiet.start, quiet.end, quiet.zone) if quiet else ()
    what = (upload.sender, upload.text, upload.file.digest, upload.phone_column or "")
    permits = ["repeats"] * upload.allows_repeats + ["again"] * upload.allows_equal
    kind = (LINES,) if upload.is_lines else ()
    parts = (owner_id, "upload", *what, upload.start_count or 0, *quiet_parts, *permits, *kind)
    return keyed_hash(db.session.connection(), HashedKind.CONTENT, *parts)


def choose(batch: Batch, *, sheet_name: str | None = None, phone_column: str | None = None) -> bool:
    """Have a refused file checked again with what people chose; False if that was not asked."""
    if batch.state != BatchState.REFUSED or (sheet_name or phone_column) not in batch.choices:
        return False
    batch.sheet_name = sheet_name or batch.sheet_name
    batch.phone_column = phone_column or batch.phone_column
    _check_again(batch)
    return True


def read_again(
    batch: Batch,
    *,
    encoding: str | None = None,
    has_heading: bool | None = None,
    once_per_number: bool | None = None,
) -> bool:
    """Have a file that is not sent read in another way; False if it is not there any more."""
    if batch.state not in (BatchState.READY, BatchState.REFUSED) or not BatchFile.exists(batch.id):
        return False
    if encoding is not None and encoding in OLD_ENCODINGS and not batch.holds_lines:
        batch.encoding = encoding
    if has_heading is not None:
        batch.has_heading, batch.phone_column = has_heading, None  # its name is another now
    if once_per_number is not None:
        batch.once_per_number = once_per_number
    _check_again(batch)
    return True


def _check_again(batch: Batch) -> None:
    """Nothing starts by itself afterwards: a program did not mean what people chose since."""
    batch.state, batch.problem, batch.choices = BatchState.CHECKING, None, []
    batch.row_count, batch.good_count, batch.start_count = 0, 0, None


def discard(batch: Batch) -> bool:
    """Give up a batch that was never started; False if it was. A worker deletes its rows."""
    if batch.is_started:
        return False
    BatchFile.remove(db.session.connection(), [batch.id])
    batch.state = BatchState.DISCARDED
    if batch.token_id is None:
        batch.idempotency_key = uuid.uuid4()  # its form may be sent once more
    return True
