"""Errors of the machine, such as a full disk, in words for people."""

import errno

FULL_DISK = (errno.ENOSPC, errno.EDQUOT)


def is_disk_full(error: BaseException) -> bool:
    """Whether a file cannot be written for lack of room."""
    return isinstance(error, OSError) and error.errno in FULL_DISK


def describe_system_error(error: OSError) -> str:
    """What is wrong, as a clause; without the name of the file."""
    if is_disk_full(error):
        return "the server's disk for temporary files is full"
    return f"the server reports “{error.strerror or type(error).__name__}”"
