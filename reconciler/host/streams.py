"""The standard streams of a process that must not fail because of them.

A command does its work wherever its output goes: to a closed descriptor, a full disk, a terminal
that knows ASCII only. Loaded before everything else, so it imports next to nothing.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import select
import sys
from collections.abc import Callable
from io import TextIOBase
from typing import TYPE_CHECKING, TextIO, cast

if TYPE_CHECKING:
    from typing_extensions import Buffer

#: The error handler of our streams.
_LEGIBLE = "reconciler.legible"
#: What our own texts have beyond ASCII.
_IN_ASCII = {"→": "->", "…": "...", "–": "-", "·": "*", "≤": "<=", "≥": ">=", "×": "x"}


class StdoutLost(OSError):
    """The result could not be written to stdout, and not because its reader has gone away."""


def open_standard_streams() -> None:
    """Make stdin, stdout and stderr usable, whatever the caller made of them.

    A closed descriptor is opened on /dev/null: otherwise the next file or socket would get its
    number, and the log lines. stdout raises `StdoutLost` where it cannot be written, and stderr
    drops what it cannot take. Neither raises because of its encoding.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # closed; this is now the lowest free number
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # noqa: FBT003
    codecs.register_error(_LEGIBLE, _legible)
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False, encoding="utf-8")  # noqa: SIM115
    sys.stdout = _guarded(sys.stdout, 1, _Stdout)
    sys.stderr = _guarded(sys.stderr, 2, _Stderr)


def decoded(text: str) -> str:
    """An argument or variable as UTF-8, if it is that and the locale knows nothing beyond ASCII."""
    if not is_text(text):
        with contextlib.suppress(UnicodeError):
            return os.fsencode(text).decode()
    return text


def is_text(text: str) -> bool:
    """Whether there are only characters in it, and no bytes that could not be decoded."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class Stderr(TextIOBase):
    """Writes to what `sys.stderr` is at the time, and drops what that cannot take.

    A progress bar puts itself in its place. For log lines, which must never end a pass.
    """

    def write(self, text: str) -> int:
        """Write, or drop."""
        with contextlib.suppress(OSError, ValueError, AttributeError):  # full, closed, none at all
            sys.stderr.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush, or do nothing."""
        with contextlib.suppress(OSError, ValueError, AttributeError):
            sys.stderr.flush()


class _Patient(io.FileIO):
    """Waits where a non-blocking descriptor is full, as a blocking one does by itself."""

    def write(self, content: Buffer) -> int:
        while (written := super().write(content)) is None:
            select.select((), (self,), ())
        return written


class _Stdout(_Patient):
    def write(self, content: Buffer) -> int:
        try:
            return super().write(content)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise StdoutLost(error.errno, error.strerror) from None


class _Stderr(_Patient):
    def write(self, content: Buffer) -> int:
        try:
            return super().write(content)
        except OSError:
            return memoryview(content).nbytes


def _guarded(stream: TextIO | None, number: int, kind: Callable[..., io.FileIO]) -> TextIO:
    if stream is not None and not _is_over(stream, number):
        return stream  # somebody has put it there, e.g. a test
    raw = kind(number, "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding="utf-8" if stream is None else stream.encoding,
        errors=_LEGIBLE,
        line_buffering=number == 2 or stream is None or stream.isatty(),  # noqa: PLR2004
    )


def _is_over(stream: TextIO, number: int) -> bool:
    try:
        return stream.fileno() == number
    except (OSError, ValueError):
        return False


def _legible(error: UnicodeError) -> tuple[str, int]:
    """What stands for characters that the encoding lacks: our own in ASCII, others as escapes."""
    failed = cast("UnicodeEncodeError", error)
    lacking = failed.object[failed.start : failed.end]
    return "".join(_IN_ASCII.get(each) or _escape(each) for each in lacking), failed.end


def _escape(character: str) -> str:
    return character.encode("ascii", "backslashreplace").decode()
