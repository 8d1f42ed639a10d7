"""A host whose clock is wrong: libfaketime shifts the clock of a single command.

Monotonic clocks stay correct, as they do when a real clock is set.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import libfaketime
import pytest

from tests.support.commands.command import Command

_LIBRARY = Path(libfaketime.__file__).parent / "vendor/libfaketime/src/libfaketime.so.1"

#: The wheel contains the library for this platform only.
needs_faketime = pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"),
    reason="libfaketime is for Linux on x86-64",
)


@dataclass(frozen=True)
class HostClock:
    """The clock of one host. It can be set while a command runs."""

    file: Path

    def set(self, ahead: timedelta) -> None:
        """Set it this far ahead of the true time."""
        new = self.file.with_suffix(".new")
        new.write_text(f"{ahead.total_seconds():+.0f}\n")
        new.replace(self.file)  # the command reads it constantly

    @property
    def environment(self) -> Mapping[str, str]:
        return {
            "LD_PRELOAD": str(_LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def on(self, command: Command) -> Command:
        """The command on this host."""
        return replace(command, environment={**command.environment, **self.environment})


def host_clock(folder: Path, ahead: timedelta = timedelta(), name: str = "clock") -> HostClock:
    """A clock that is this far ahead."""
    clock = HostClock(folder / name)
    clock.set(ahead)
    return clock
