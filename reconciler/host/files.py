"""Files that operators name: settings, secrets, certificates, plans.

Only regular files are read, also through links, with which Kubernetes mounts secrets. Reading a
pipe may block forever, and a device may have no end; a loop that rereads a key must not hang.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

from reconciler.core.errors import ConfigurationError

#: The most bytes of a file that is read as a whole.
MAX_BYTES = 1024 * 1024

_KINDS = (
    (stat.S_ISDIR, "is a directory"),
    (stat.S_ISFIFO, "is a pipe"),
    (stat.S_ISSOCK, "is a socket"),
    (stat.S_ISCHR, "is a device"),
    (stat.S_ISBLK, "is a device"),
)


class UnfitFile(OSError):
    """Not a regular file, empty or too large; `strerror` says which."""


def open_file(path: str | Path) -> BinaryIO:
    """Open a regular file for reading. Raises `OSError`, whose `strerror` says why not."""
    try:
        check_file(path)  # first, since even opening a device or a pipe has effects
        # Non-blocking, in case something else has replaced it since.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except ValueError:  # a NUL, or a lone surrogate
        raise FileNotFoundError(errno.ENOENT, "is not a path") from None
    file = os.fdopen(descriptor, "rb")
    try:
        _check_kind(os.fstat(descriptor))
    except OSError:
        file.close()
        raise
    return file


def read_file(path: str | Path) -> bytes:
    """All of a small regular file. Raises `OSError`, whose `strerror` says why not."""
    with open_file(path) as file:
        content = file.read(MAX_BYTES + 1)
    if content is None:  # a kernel file that would block
        raise UnfitFile(errno.EAGAIN, "has no content to read yet")
    _check_size(len(content), MAX_BYTES)
    return content


def read_secret(setting: str, path: str | Path) -> str:
    """The secret in a file, without trailing newlines.

    Raises `ConfigurationError`, which names the setting and the path, but never quotes the content.
    """
    try:
        text = read_file(path).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigurationError(f"{setting}: {path} is not UTF-8") from None
    except OSError as error:
        raise ConfigurationError(f"{setting}: cannot read {path}: {error.strerror}") from None
    if not text.strip():
        raise ConfigurationError(f"{setting}: {path} is empty")
    return text.rstrip("\r\n")


def append_whole(path: str | Path, content: bytes) -> None:
    """Add to the end of a file, all of it or nothing. Raises `OSError`."""
    with Path(path).open("ab", buffering=0) as file:
        before, written = file.seek(0, os.SEEK_END), 0
        try:
            while written < len(content):
                written += file.write(content[written:])
        except OSError:
            file.truncate(before)
            raise


def check_file(path: str | Path, limit: int | None = None) -> None:
    """Raise `OSError` unless this is a regular file.

    With a `limit`, also unless it has 1 to `limit` bytes, for libraries that read the file
    themselves. Kernel files claim to be empty, and some would block.
    """
    found = os.stat(path)  # noqa: PTH116 - a path may be text with a NUL in it
    _check_kind(found)
    if limit is not None:
        _check_size(found.st_size, limit)
        if not found.st_size:
            raise UnfitFile(errno.ENODATA, "is empty")


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise UnfitFile(errno.EFBIG, f"is larger than {limit // 1024:,} KiB")


def _check_kind(found: os.stat_result) -> None:
    if stat.S_ISREG(found.st_mode):
        return
    what = next((text for is_kind, text in _KINDS if is_kind(found.st_mode)), "is special")
    raise UnfitFile(errno.EINVAL, f"{what}, not a file")
