"""The entry point exits at once, with the command's exit code."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Iterator

import pytest

from reconciler import __main__
from reconciler.cli import main as cli


class Exited(BaseException):
    """Raised instead of ending the process."""


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.parametrize("code", [0, 3])
def test_it_exits_without_the_interpreters_shutdown(
    monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """In that shutdown, Python 3.11 may abort if the Temporal client was used."""
    seen: list[object] = []
    written = io.BytesIO()

    def exit_process(code: int) -> None:
        seen.append((code, written.getvalue()))
        raise Exited

    def run(arguments: list[str]) -> int:
        seen.append(arguments)
        sys.stdout.write("the result\n")
        return code

    monkeypatch.setattr(sys, "argv", ["reconciler", "once"])
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BufferedWriter(written)))
    monkeypatch.setattr(cli, "run", run)
    monkeypatch.setattr(os, "_exit", exit_process)

    with pytest.raises(Exited):
        __main__.main()

    assert seen == [["once"], (code, b"the result\n")], "nothing is lost in a buffer"


@pytest.mark.parametrize(
    ("words", "is_loop"),
    [
        ("run", True),
        ("run --cron x", True),
        ("--config reconciler.toml run", True),
        ("--config=reconciler.toml run", True),
        ("--config run once", False),
        ("explain run", False),
        ("--help", False),
        ("", False),
    ],
)
def test_the_loop_is_recognised_behind_global_options(
    monkeypatch: pytest.MonkeyPatch, words: str, is_loop: bool
) -> None:
    monkeypatch.setattr(sys, "argv", ["reconciler", *words.split()])

    assert __main__._is_loop() is is_loop
