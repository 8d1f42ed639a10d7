"""Runs a command for each target of `reconciler.toml`, one after another.

Where there are no targets, or one is named, the command runs once and prints as it does alone.
Otherwise text is under headings, lines on stderr name the target, and the JSON objects become parts
of one. A target that fails does not keep the next from running.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass, field
from io import TextIOBase
from typing import TYPE_CHECKING, Any, TextIO, cast

from reconciler.cli.base import (
    ABORTED,
    BUG,
    OK,
    UNRESOLVED,
    USAGE,
    print_failure,
    subject,
)
from reconciler.console.screen import print_line, screen
from reconciler.host.signals import INTERRUPTED, signals
from reconciler.host.streams import StdoutLost

if TYPE_CHECKING:
    from reconciler.settings.model import Settings

#: Exit codes from the best to the worst.
_ORDER = (OK, UNRESOLVED, ABORTED, USAGE, BUG, INTERRUPTED)
_OUTCOMES = {OK: "ok", UNRESOLVED: "unresolved", ABORTED: "aborted"}
#: stdout is closed or full; rich exits if it is a closed pipe.
_LOST = (StdoutLost, BrokenPipeError, SystemExit)
_INTERRUPTIONS = (KeyboardInterrupt, asyncio.CancelledError)

#: Prints what there is to say about a target, and returns an exit code.
Command = Callable[["Settings"], int]
#: Prints what there is to say about all of them; returns an exit code, and parts of the JSON.
Last = Callable[[], tuple[int, Mapping[str, Any]]]


def worst(codes: Sequence[int]) -> int:
    """The exit code of a command that ended with each of these."""
    return max(codes, key=_ORDER.index, default=OK)


@dataclass(frozen=True, slots=True, kw_only=True)
class Each:
    """The targets that a command is about, and how it prints."""

    targets: Sequence[Settings]
    #: The option `--target`.
    named: str | None
    #: The command prints a JSON object.
    as_json: bool = False
    #: The outcome in JSON, by exit code; that of `ABORTED` also stands for worse ones.
    outcomes: Mapping[int, str] = field(default_factory=lambda: _OUTCOMES)
    #: The command does more than print: the next target has its turn even if stdout is lost.
    works: bool = False
    #: Print a heading above each; otherwise the command prints it if there is something below.
    headings: bool = True
    #: The exit code of the command, from those of the targets.
    total: Callable[[Sequence[int]], int] = worst

    @property
    def are_several(self) -> bool:
        """Whether the output is about all targets, even if the file has only one so far."""
        return self.named is None and bool(self.targets[0].target)

    def run(self, command: Command, last: Last | None = None) -> int:
        """Run the command for each target; returns the worst exit code. A signal ends all.

        `last` has its turn after those of several targets.
        """
        if not self.are_several:
            return self.total([command(self.targets[0])])
        codes: list[int] = []
        parts = _Parts(self.outcomes[ABORTED]) if self.as_json else None
        lost: BaseException | None = None
        for settings in self.targets:
            try:
                codes.append(self._one(settings, command, parts))
            except _LOST as error:
                if not self.works:
                    raise
                lost = lost or error
            if signals.asked or INTERRUPTED in codes:
                break
        if lost is not None:
            raise lost
        more: Mapping[str, Any] = {}
        if last is not None and not (signals.asked or INTERRUPTED in codes):
            code, more = last()
            codes.append(code)
        code = INTERRUPTED if signals.asked else self.total(codes)
        if parts is not None:
            parts.end({**more, "outcome": self.outcomes.get(code, self.outcomes[ABORTED])})
        return code

    def _one(self, settings: Settings, command: Command, parts: _Parts | None) -> int:
        if parts is None and self.headings:
            print_heading(settings, self.targets)
        with about(settings.target):
            try:
                with parts.of(settings.target) if parts else nullcontext():
                    return command(settings)
            except _LOST:
                raise
            except _INTERRUPTIONS:
                if parts is not None and parts.began:
                    raise
                return INTERRUPTED
            except Exception as error:
                if parts is not None:
                    if parts.began:
                        raise
                    parts.add_error(error)
                return print_failure(error)


def of_target(settings: Settings) -> Sequence[str]:
    """The option that names the target, for a command to show; none where there are no targets."""
    return ["--target", settings.target] if settings.target else []


def labelled(line: Mapping[str, Any]) -> Mapping[str, Any]:
    """An object of those that a command prints on a line each; with its target if several are."""
    return {"target": target, **line} if (target := subject.get()) else line


def print_heading(settings: Settings, shown: Sequence[Settings]) -> None:
    """Print the name of the target above what is about it. `shown`: those that get a heading."""
    print_title(settings.target, first=settings is shown[0])


def print_title(text: str, *, first: bool) -> None:
    """Print a heading, below an empty line unless it is the first."""
    console = screen()
    if not first:
        console.print()
    print_line(console, (f"{text}:", "bold"))


@contextmanager
def about(target: str) -> Iterator[None]:
    """Name the target in the lines on stderr; none if it is empty."""
    from structlog.contextvars import bound_contextvars

    token = subject.set(target)
    try:
        with bound_contextvars(target=target):
            yield
    finally:
        subject.reset(token)


class _Parts(TextIOBase):
    """Takes the place of stdout, and makes one object of those of the targets.

    An object is written as it is printed, as it may be larger than the memory.
    """

    def __init__(self, failed: str) -> None:
        self._stdout, self._failed = sys.stdout, failed
        self._before, self._target = '{"targets": {', ""
        #: Whether a part of the target's object has been written.
        self.began = False

    @contextmanager
    def of(self, target: str) -> Iterator[None]:
        """What is printed now is about this target."""
        self._target, self.began = target, False
        with redirect_stdout(cast("TextIO", self)):
            yield

    def write(self, text: str) -> int:
        """Write a part of the target's object; only the last ends the line."""
        if stripped := text.rstrip("\n"):
            if not self.began:
                stripped = f"{self._before}{json.dumps(self._target)}: {stripped}"
                self._before, self.began = ", ", True
            self._stdout.write(stripped)
        return len(text)

    def add_error(self, error: Exception) -> None:
        """Write why the target has no object."""
        self.write(json.dumps({"outcome": self._failed, "error": str(error)}))

    def end(self, rest: Mapping[str, Any]) -> None:
        """Write the rest of the object, which is about all targets."""
        before = self._before if self._before != ", " else ""
        self._stdout.write(f"{before}}}, {json.dumps(rest)[1:]}\n")
