"""Uploaded files while their request lasts: in memory, and on the disk if they are large."""

import logging
from contextlib import suppress
from io import BytesIO
from tempfile import SpooledTemporaryFile
from typing import IO, Any, cast

from flask import Request

from smstracker.system_errors import describe_system_error

log = logging.getLogger(__name__)

MEMORY_BYTES = 500 * 1024  # of one file


class UploadedFile:
    """A file of a form. One that cannot be stored is empty, and `error` says why: the fields of
    the form can be read nevertheless, and what people typed is not lost.
    """

    def __init__(self) -> None:
        self.error: OSError | None = None
        self._file = cast(IO[bytes], SpooledTemporaryFile(MEMORY_BYTES))  # noqa: SIM115

    def write(self, data: bytes) -> int:
        if self.error is None:
            try:
                self._file.write(data)
                self._file.flush()
            except OSError as error:
                self._lose(error)
        return len(data)

    def _lose(self, error: OSError) -> None:
        log.error("upload_not_stored", extra={"reason": describe_system_error(error)})
        self.error = error
        with suppress(OSError):  # what could not be written is tried once more
            self._file.close()
        self._file = BytesIO()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


class UploadRequest(Request):
    """A request whose files are `UploadedFile`s."""

    def _get_file_stream(self, *_arguments: object, **_facts: object) -> IO[bytes]:
        return cast(IO[bytes], UploadedFile())
