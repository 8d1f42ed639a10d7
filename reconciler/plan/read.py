"""Reading a plan: all of it is checked before any of it is applied.

So it is read twice, line by line: memory must not grow with the file.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

from reconciler.core.errors import ConfigurationError, Unusable
from reconciler.core.model import Finish, RowId
from reconciler.core.text import one_line, or_null, visible
from reconciler.host.files import open_file
from reconciler.plan.format import MAX_LINE, VERSION, Json, PlanHeader, Trailer, from_line
from reconciler.plan.rows import row_from_json

#: Rows to be finished, each with the number of its line.
Batch = list[tuple[int, Finish]]
_ReadId = Callable[[int | str], RowId]
#: Device, inode, size and time of change: at least one differs once a file is changed.
_Identity = tuple[int, int, int, int]

_CHANGED = "was changed after it was made"
_MAKE_AGAIN = "make the plan again"
_CHANGED_MEANWHILE = "was changed while it was being applied"


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan that was found to be complete, unchanged, and of this table."""

    path: Path
    header: PlanHeader
    rows: int
    #: Of these, the rows to be finished, including those that are held back.
    finishes: int
    #: Rows Temporal does not know that the breaker kept the dry run from finishing.
    held_back: int
    #: The last line with a row to be finished, counted from 1; 0 if there is none.
    last_finish: int
    _read_id: _ReadId
    _identity: _Identity

    def batches(
        self, after_line: int, size: int, stopped: Callable[[], bool] = lambda: False
    ) -> Generator[Batch, None, None]:
        """The rows to be finished after a line, up to `size` at a time; none once `stopped`.

        Raises `Unusable` if the file is no longer the one that was checked.
        """
        try:
            with open_file(self.path) as file:
                for batch in self._batches(file, after_line, size, stopped):
                    if _identity(file) != self._identity:
                        raise Unusable(_of(self.path, _CHANGED_MEANWHILE))
                    yield batch
        except OSError as error:
            raise Unusable(_of(self.path, _cannot(error))) from error

    def _batches(
        self, file: BinaryIO, after_line: int, size: int, stopped: Callable[[], bool]
    ) -> Iterator[Batch]:
        batch: Batch = []
        for number in range(1, self.last_finish + 1):
            if stopped():
                return
            line = file.readline(MAX_LINE)
            if number <= max(after_line, 1):
                continue
            try:
                verdict = row_from_json(from_line(line), self._read_id)
            except ValueError:
                raise Unusable(_of(self.path, _CHANGED_MEANWHILE)) from None
            if isinstance(verdict, Finish):
                batch.append((number, verdict))
            if batch and (len(batch) == size or number == self.last_finish):
                yield batch
                batch = []


def open_plan(
    path: Path,
    *,
    table: str,
    running: Sequence[str | None],
    read_id: _ReadId,
    namespace: str | None = None,
    target: str = "",
    stopped: Callable[[], bool] = lambda: False,
) -> Plan:
    """Check all of a plan, and that it is one of this table and namespace.

    `table` and `running` are those of the settings, and so are `namespace` and `target` where they
    are known; `read_id` makes a key of the table of a number or a text. Reads the whole file,
    perhaps a million lines, so call it in a thread. Raises `ConfigurationError`; and `Unusable`
    once `stopped`.
    """
    if path.suffix.lower() == ".csv":
        raise _refused(path, "a .csv is for reading only", "make a plan with --output plan.jsonl")
    if path.suffix.lower() != ".jsonl":
        raise _refused(path, "is not a plan: the name of a plan ends in .jsonl")
    try:
        with open_file(path) as file:
            identity = _identity(file)
            first = file.readline(MAX_LINE)
            header = _header(path, first)
            mismatch = _mismatch_of_target(header, target)
            if mismatch := mismatch or _mismatch(header, table, running, namespace):
                raise _refused(path, mismatch)
            trailer, last_finish = _check_rows(path, file, first, read_id, stopped)
    except OSError as error:
        raise _refused(path, _cannot(error)) from error
    return Plan(
        path=path,
        header=header,
        rows=trailer.rows,
        finishes=trailer.finish,
        held_back=trailer.held_back,
        last_finish=last_finish,
        _read_id=read_id,
        _identity=identity,
    )


def _header(path: Path, line: bytes) -> PlanHeader:
    if not line:
        raise _refused(path, "is empty")
    if line.startswith(b'{"reconciler_plan": ') and not line.endswith(b"\n"):
        raise _truncated(path, 1)
    try:
        header = from_line(line)
        version = header.get("reconciler_plan")
        if type(version) is not int:
            raise ValueError("no version")  # noqa: TRY301
        if version != VERSION:
            raise _refused(
                path, f"is of format {version}, this version reads format {VERSION}", _MAKE_AGAIN
            )
        return PlanHeader.from_json(header)
    except ValueError:
        raise _refused(path, "is not a plan, as made by `reconciler backfill --output`") from None


def _mismatch_of_target(header: PlanHeader, target: str) -> str | None:
    # A plan from before there were targets, or a file that has none any more, says nothing.
    if header.target and target and header.target != target:
        return f"is of target {header.target}, not of {target}"
    return None


def _mismatch(
    header: PlanHeader, table: str, running: Sequence[str | None], namespace: str | None
) -> str | None:
    if header.table != table:
        return f"is of table {header.table}, the settings say {table}"
    if namespace is not None and header.namespace != namespace:
        return f"is of namespace {header.namespace}, TEMPORAL_NAMESPACE is {namespace}"
    if set(header.running) != set(running):
        return (
            f"is of rows marked {', '.join(map(or_null, header.running))}, "
            f"RECONCILER_STATUSES__RUNNING is {','.join(map(or_null, running))}"
        )
    return None


def _check_rows(
    path: Path, file: BinaryIO, header: bytes, read_id: _ReadId, stopped: Callable[[], bool]
) -> tuple[Trailer, int]:
    """Check all lines after the header; returns the trailer, and the last line with a finish."""
    content = sha256(header)
    finishes = last_finish = 0
    number = 1
    for number, line in _lines(path, file, stopped):
        try:
            read = from_line(line)
            if "end" in read:
                trailer = Trailer(number - 2, finishes, _held_back(read))
                content.update(trailer.figures())
                if line != trailer.line(content.hexdigest()) or file.read(1):
                    raise _refused(path, _CHANGED)
                return trailer, last_finish
            verdict = row_from_json(read, read_id)
        except ValueError:
            raise _refused(path, f"{_CHANGED}: line {number} is not of a plan") from None
        content.update(line)
        if isinstance(verdict, Finish):
            finishes += 1
            last_finish = number
    raise _truncated(path, number)


def _lines(path: Path, file: BinaryIO, stopped: Callable[[], bool]) -> Iterator[tuple[int, bytes]]:
    for number in itertools.count(2):
        if stopped():
            raise Unusable("stopped")
        line = file.readline(MAX_LINE)
        if not line:
            return
        if len(line) == MAX_LINE:
            raise _refused(path, f"{_CHANGED}: line {number} is longer than any of a plan")
        if not line.endswith(b"\n"):
            raise _truncated(path, number)
        yield number, line


def _held_back(trailer: Json) -> int:
    held_back = trailer.get("held_back")
    return held_back if type(held_back) is int else 0


def _identity(file: BinaryIO) -> _Identity:
    found = os.fstat(file.fileno())
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _truncated(path: Path, last: int) -> ConfigurationError:
    return _refused(path, f"is truncated: it ends with line {last}", _MAKE_AGAIN)


def _refused(path: Path, why: str, fix: str = "") -> ConfigurationError:
    return ConfigurationError(_of(path, why), fix)


def _cannot(error: OSError) -> str:
    return f"cannot be read: {error.strerror or error}"


def _of(path: Path, what: str) -> str:
    return one_line(visible(f"--plan {path}: {what}"), 1000)
