"""Files that operators name: only regular files are read."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.host.files import (
    MAX_BYTES,
    UnfitFile,
    append_whole,
    check_file,
    open_file,
    read_file,
)


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def _too_large(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)


#: How to make it, and what is said of it.
UNFIT: dict[str, tuple[Callable[[Path], object], str]] = {
    "pipe": (_fifo, "is a pipe, not a file"),
    "socket": (_socket, "is a socket, not a file"),
    "folder": (Path.mkdir, "is a directory, not a file"),
    "endless device": (lambda path: path.symlink_to("/dev/zero"), "is a device, not a file"),
    "terminal": (lambda path: path.symlink_to("/dev/tty"), "is a device, not a file"),
    "link to itself": (lambda path: path.symlink_to(path), "Too many levels of symbolic links"),
    "link to nothing": (lambda path: path.symlink_to("nowhere"), "No such file or directory"),
    "too large": (_too_large, "is larger than 1,024 KiB"),
}


@pytest.mark.parametrize(("make", "why"), UNFIT.values(), ids=list(UNFIT))
def test_anything_but_a_regular_file_is_rejected_without_waiting(
    tmp_path: Path, make: Callable[[Path], object], why: str
) -> None:
    make(tmp_path / "it")

    with pytest.raises(OSError) as refused:  # noqa: PT011 - its `strerror` is what counts
        read_file(tmp_path / "it")

    assert refused.value.strerror == why


@pytest.mark.parametrize("path", ["a\0b", "\ud800"])
def test_text_that_is_no_path_is_rejected(path: str) -> None:
    with pytest.raises(FileNotFoundError) as refused:
        read_file(path)
    assert refused.value.strerror == "is not a path"


def test_a_link_to_a_file_is_read(tmp_path: Path) -> None:
    """As Kubernetes mounts secrets: links into a folder that is a link, too."""
    (tmp_path / "2026").mkdir()
    (tmp_path / "2026" / "secret").write_bytes(b"x" * MAX_BYTES)
    (tmp_path / "data").symlink_to("2026")
    (tmp_path / "secret").symlink_to("data/secret")

    assert len(read_file(tmp_path / "secret")) == MAX_BYTES
    with open_file(tmp_path / "secret") as file:
        assert file.read(1) == b"x"


def test_a_pipe_that_replaces_the_file_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is a pipe by the time it is opened."""
    _fifo(tmp_path / "it")
    monkeypatch.setattr("reconciler.host.files.check_file", lambda _: None)

    with pytest.raises(UnfitFile):
        read_file(tmp_path / "it")


def test_a_file_for_a_library_is_neither_empty_nor_too_large(tmp_path: Path) -> None:
    (tmp_path / "it").write_bytes(b"xx")
    check_file(tmp_path / "it", 2)

    with pytest.raises(UnfitFile, match="is larger than"):
        check_file(tmp_path / "it", 1)
    with pytest.raises(UnfitFile, match="is empty"):
        check_file("/proc/self/environ", 1)


def test_what_is_appended_is_in_the_file_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "settings"
    file.write_bytes(b"before\n")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            append_whole(file, b"added\n")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert file.read_bytes() == b"before\n"

    append_whole(file, b"added\n")

    assert file.read_bytes() == b"before\nadded\n"
