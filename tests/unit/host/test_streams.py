"""Closed, full and ASCII streams; each test starts a process."""

from __future__ import annotations

import subprocess
import sys

import pytest

from reconciler.host.streams import decoded, is_text

#: What each of the scripts begins with.
_BEGIN = "import os, socket, sys; from reconciler.host.streams import *; open_standard_streams();"


def run(
    script: str, redirected: str = "", **environment: str
) -> subprocess.CompletedProcess[bytes]:
    command = f'exec "$0" -c "$1" {redirected}'
    return subprocess.run(
        ["bash", "-c", command, sys.executable, _BEGIN + script],
        capture_output=True,
        env={"PATH": "/bin:/usr/bin", **environment},
        check=False,
    )


@pytest.mark.parametrize(
    "closed", ["<&-", ">&-", "2>&-", "<&- >&-", ">&- 2>&-", "<&- 2>&-", "<&- >&- 2>&-"]
)
def test_no_socket_gets_the_number_of_a_closed_stream(closed: str) -> None:
    script = (
        "made = socket.socket().fileno(); print('out'); print('err', file=sys.stderr);"
        "sys.stdin.read(); sys.stdout.flush();"
        "os._exit(0 if made > 2 and os.get_inheritable(0) and os.get_inheritable(2) else 9)"
    )

    done = run(script, f"{closed} </dev/null" if "<" not in closed else closed)

    assert done.returncode == 0
    assert done.stdout == (b"" if ">&-" in closed.replace("2>&-", "") else b"out\n")
    assert done.stderr == (b"" if "2>&-" in closed else b"err\n")


def test_lines_are_dropped_while_stderr_is_full() -> None:
    script = (
        "print('x' * 100_000, file=sys.stderr); sys.stderr.flush(); print('done'); "
        "sys.stdout.flush(); os._exit(7)"
    )

    done = run(script, "2>/dev/full")

    assert (done.returncode, done.stdout) == (7, b"done\n")


def test_a_full_stdout_is_reported() -> None:
    script = (
        "\ntry:\n  print('x'); sys.stdout.flush()\nexcept StdoutLost as error:\n"
        "  print(error.strerror, file=sys.stderr); os._exit(7)"
    )

    done = run(script, ">/dev/full")

    assert (done.returncode, done.stderr) == (7, b"No space left on device\n")


def test_a_closed_pipe_is_reported() -> None:
    script = "\ntry:\n  print('x'); sys.stdout.flush()\nexcept BrokenPipeError:\n  os._exit(7)"

    done = run(f"import time; r, w = os.pipe(); os.close(r); os.dup2(w, 1);{script}")

    assert done.returncode == 7


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("ascii", b"a -> ... \\xe9 \\u65e5 \\udcff\n"),
        ("ascii:strict", b"a -> ... \\xe9 \\u65e5 \\udcff\n"),
        ("latin-1", b"a -> ... \xe9 \\u65e5 \\udcff\n"),
        ("utf-8", "a → … é 日 \\udcff\n".encode()),
    ],
)
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_characters_that_the_encoding_lacks_are_replaced(
    encoding: str, shown: bytes, stream: str
) -> None:
    text = "a \\u2192 \\u2026 \\xe9 \\u65e5 \\udcff"
    script = f"print('{text}', file=sys.{stream}); sys.stdout.flush()"

    done = run(script, PYTHONIOENCODING=encoding)

    assert (done.returncode, getattr(done, stream)) == (0, shown)


def test_a_full_pipe_that_does_not_block_is_waited_for() -> None:
    script = (
        "import threading; r, w = os.pipe(); os.set_blocking(w, False); os.dup2(w, 1)\n"
        "def drain():\n  while os.read(r, 65536): pass\n"
        "threading.Thread(target=drain, daemon=True).start()\n"
        "print('x' * 3_000_000); sys.stdout.flush(); os._exit(7)"
    )

    assert run(script).returncode == 7


def test_bytes_that_the_locale_cannot_decode() -> None:
    assert decoded("größer") == "größer"
    assert decoded("gr\udcc3\udcb6\udcc3\udc9fer") == "größer"
    assert decoded("\udcff") == "\udcff"
    assert not is_text("\udcff")
