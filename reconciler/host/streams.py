"""Standard streams that never make a command fail.

A command does its work wherever its output goes: to a closed descriptor, a full disk, an ASCII
terminal. This module is loaded before any other, so it imports little.
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
#: The characters of our own texts that are not ASCII.
_IN_ASCII = {"→": "->", "…": "...", "–": "-", "·": "*", "≤": "<=", "≥": ">=", "×": "x"}


class StdoutLost(OSError):
    """stdout cannot be written, for another reason than a closed pipe."""


def open_standard_streams() -> None:
    """Make stdin, stdout and stderr usable, however the process was started.

    A closed descriptor is opened on /dev/null: otherwise the next file or socket would get its
    number, and with it the log. stdout raises `StdoutLost` if it cannot be written; stderr drops
    what it cannot write. Neither raises because of its encoding.
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
    """An argument or variable, decoded as UTF-8 if the locale could not decode it."""
    if not is_text(text):
        with contextlib.suppress(UnicodeError):
            return os.fsencode(text).decode()
    return text


def is_text(text: str) -> bool:
    """Whether it holds no bytes that could not be decoded."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class Stderr(TextIOBase):
    """Writes to the present `sys.stderr`, which a progress bar may replace; never raises."""

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
    """Waits while a non-blocking descriptor is full, as a blocking one does."""

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
        return stream  # replaced, e.g. by a test
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
    """Replace characters that the encoding lacks: our own by ASCII, others by escapes."""
    failed = cast("UnicodeEncodeError", error)
    lacking = failed.object[failed.start : failed.end]
    return "".join(_IN_ASCII.get(each) or _escape(each) for each in lacking), failed.end


def _escape(character: str) -> str:
    return character.encode("ascii", "backslashreplace").decode()
