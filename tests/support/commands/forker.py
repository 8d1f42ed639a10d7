"""A separate program that loads the command once, and forks it for each order.

Orders arrive on the socket whose number is its argument. Each comes with the files for the
command's standard streams and one for the answers: the process id, and finally the exit code.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import os
import pkgutil
import select
import signal
import socket
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

#: The file in which a command records the signals that it has sent itself.
STOPPED = "stopped"
#: The maximum size of an order (arguments and environment), in bytes.
LARGEST = 2**18


def load() -> None:
    """Import everything that any command imports, now or later."""
    package = importlib.import_module("reconciler")
    for module in pkgutil.walk_packages(package.__path__, "reconciler."):
        importlib.import_module(module.name)
    assert len(list(Path("/proc/self/task").iterdir())) == 1, "a fork has no other threads"
    gc.collect()
    gc.freeze()  # otherwise the first collection in each fork would copy all of it


def serve(orders: socket.socket) -> None:
    """Serve orders until the other side closes; then kill what still runs."""
    ended, wake = socket.socketpair()
    wake.setblocking(False)
    signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    answers: dict[int, int] = {}
    while True:
        ready, _, _ = select.select([orders, ended], [], [])
        if ended in ready:
            ended.recv(LARGEST)
        while answers and (child := os.waitpid(-1, os.WNOHANG))[0]:
            answer(answers.pop(child[0]), os.waitstatus_to_exitcode(child[1]), last=True)
        if orders not in ready:
            continue
        order, files, _, _ = socket.recv_fds(orders, LARGEST, 4)
        if not order:
            break
        if (pid := os.fork()) == 0:
            become(json.loads(order), files)
        for file in files[:3]:
            os.close(file)
        answers[pid] = files[3]
        answer(files[3], pid)
    for pid in answers:
        os.kill(pid, signal.SIGKILL)


def answer(file: int, number: int, *, last: bool = False) -> None:
    with suppress(BrokenPipeError):  # the test no longer reads it
        os.write(file, f"{number}\n".encode())
    if last:
        os.close(file)


def become(order: dict[str, Any], files: Sequence[int]) -> NoReturn:
    """Run the command in this process, and end it."""
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for number, file in enumerate(files[:3]):
            os.dup2(file, number)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        os.environ.clear()
        os.environ.update(order["environment"])
        os.chdir(order["folder"])
        for name, seconds in order["limits"].items():
            limit(name, seconds)
        if order["stops"]:
            stop_at(order["stops"], Path(order["folder"]) / STOPPED)
        sys.argv = ["reconciler", *order["arguments"]]
        importlib.import_module("reconciler.__main__").main()
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
    finally:
        os._exit(1)


def stop_at(stops: Sequence[tuple[int, str, int]], record: Path) -> None:
    """Have this process send itself signals, once its handlers are installed.

    Each stop is a signal, "step" (of the event loop) or "call" (of any function), and how many of
    these to wait for after the previous signal.
    """
    left = list(stops)

    def step(of: str) -> None:
        if left and left[0][1] == of:
            number, _, count = left[0]
            left[0] = (number, of, count - 1)
            if count <= 0:
                left.pop(0)
                sent = record.read_text() if record.exists() else ""
                record.write_text(f"{sent}{number}\n")
                os.kill(os.getpid(), number)

    run_once = asyncio.BaseEventLoop._run_once  # type: ignore[attr-defined]

    def counted(loop: asyncio.BaseEventLoop) -> None:
        step("step")
        run_once(loop)

    asyncio.BaseEventLoop._run_once = counted  # type: ignore[attr-defined]
    module = importlib.import_module("reconciler.host.signals")
    install = module.Signals.install

    def listening(signals: Any) -> None:
        install(signals)
        if any(of == "call" for _, of, _ in left):
            sys.setprofile(lambda _, event, __: step("call") if event == "call" else None)

    module.Signals.install = listening


def limit(name: str, seconds: float) -> None:
    """Set a variable of a module by its dotted name; it may be a number or a timedelta."""
    module, _, own = name.rpartition(".")
    known = getattr(sys.modules[module], own)
    new = timedelta(seconds=seconds) if isinstance(known, timedelta) else seconds
    setattr(sys.modules[module], own, new)


if __name__ == "__main__":
    load()
    serve(socket.socket(fileno=int(sys.argv[1])))
