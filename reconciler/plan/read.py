"""A plan that is to be applied: checked from its first line to its last before anything is written.

It is read twice, once to check it and once to apply it: memory must not grow with it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

from reconciler.core.errors import ConfigurationError, Unusable
from reconciler.core.model import Finish, RowId
from reconciler.core.text import one_line, visible
from reconciler.host.files import open_file
from reconciler.plan.format import MAX_LINE, VERSION, Json, PlanHeader, Trailer, from_line
from reconciler.plan.rows import row_from_json

#: Rows to be finished, each with its line.
Batch = list[tuple[int, Finish]]
_ReadId = Callable[[int | str], RowId]
#: What of a file changes when it does.
_Identity = tuple[int, int, int, int]

_CHANGED = "was changed after it was made"


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan that was found to be whole, unchanged, and of this table."""

    path: Path
    header: PlanHeader
    rows: int
    #: Of these, the rows to be finished; those that are held back among them.
    finishes: int
    #: Rows Temporal does not know that the breaker kept the dry run from finishing.
    held_back: int
    #: The last line with a row to be finished, counted from 1; 0 if there is none.
    last_finish: int
    #: The checksum of its content.
    sha256: str
    _read_id: _ReadId
    _identity: _Identity

    def batches(
        self, after_line: int, size: int, stopped: Callable[[], bool] = lambda: False
    ) -> Generator[Batch, None, None]:
        """The rows to be finished below a line, up to `size` at a time; none once `stopped`.

        Raises `Unusable` if the file is no longer the one that was checked.
        """
        try:
            with open_file(self.path) as file:
                for batch in self._batches(file, after_line, size, stopped):
                    if _identity(file) != self._identity:
                        raise Unusable(_of(self.path, "was changed while it was being applied"))
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
            except (ValueError, KeyError):
                raise Unusable(_of(self.path, "was changed while it was being applied")) from None
            if isinstance(verdict, Finish):
                batch.append((number, verdict))
            if batch and (len(batch) == size or number == self.last_finish):
                yield batch
                batch = []


def open_plan(
    path: Path,
    *,
    table: str,
    running: Sequence[str],
    read_id: _ReadId,
    namespace: str | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> Plan:
    """Check all of a plan, and that it is one of this table and namespace.

    `table` and `running` are those of the settings, and so is `namespace` where it is known;
    `read_id` knows an id of the table from a number or a text. Reads a file of a million lines
    from end to end, so call it in a thread. Raises `ConfigurationError`, in one line; and
    `Unusable` once `stopped`.
    """
    if path.suffix.lower() == ".csv":
        raise _refused(path, "a .csv is for reading only: make a plan with --output plan.jsonl")
    if path.suffix.lower() != ".jsonl":
        raise _refused(path, "is not a plan: the name of a plan ends in .jsonl")
    try:
        with open_file(path) as file:
            check = _Check(path, file, read_id, stopped)
            check.header_is_of(table, running, namespace)
            return check.plan()
    except OSError as error:
        raise _refused(path, _cannot(error)) from error


@dataclass(slots=True)
class _Check:
    """One way through a plan."""

    path: Path
    file: BinaryIO
    read_id: _ReadId
    stopped: Callable[[], bool]
    identity: _Identity = field(init=False)
    header: PlanHeader = field(init=False)
    line: int = 0
    rows: int = 0
    finishes: int = 0
    last_finish: int = 0

    def __post_init__(self) -> None:
        self.identity = _identity(self.file)
        self.header = self._read_header()

    def header_is_of(self, table: str, running: Sequence[str], namespace: str | None) -> None:
        header = self.header
        if header.table != table:
            raise self._refused(
                f"is of table {header.table}, RECONCILER_TABLE and _WHERE say {table}"
            )
        if namespace is not None and header.namespace != namespace:
            raise self._refused(
                f"is of namespace {header.namespace}, TEMPORAL_NAMESPACE is {namespace}"
            )
        if set(header.running) != set(running):
            raise self._refused(
                f"is of rows marked {', '.join(header.running)}, "
                f"RECONCILER_STATUSES__RUNNING is {','.join(running)}"
            )

    def _read_header(self) -> PlanHeader:
        first = self.file.readline(MAX_LINE)
        if not first:
            raise self._refused("is empty")
        if first.startswith(b'{"reconciler_plan": ') and not first.endswith(b"\n"):
            raise self._truncated(at=1)
        try:
            header = from_line(first)
            if type(version := header["reconciler_plan"]) is not int:
                raise ValueError("version")  # noqa: TRY301
            if version != VERSION:
                raise self._refused(
                    f"was made by another version of the format ({version}, this one reads "
                    f"{VERSION}): make it anew"
                )
            return PlanHeader.from_json(header)
        except (ValueError, KeyError):
            raise self._refused(
                "is not a plan, as made by `reconciler backfill --output`"
            ) from None
        finally:
            self.file.seek(0)

    def plan(self) -> Plan:
        """Read every line."""
        content = sha256()
        for line in self._lines():
            if self.line > 1:
                read = self._read(line)
                if "end" in read:
                    trailer = Trailer(self.rows, self.finishes, _held_back(read))
                    content.update(trailer.figures())
                    if line != trailer.line(content.hexdigest()) or self.file.read(1):
                        raise self._refused(_CHANGED)
                    return self._plan(trailer, content.hexdigest())
                self._count(read)
            content.update(line)
        raise self._truncated(at=self.line)

    def _lines(self) -> Iterator[bytes]:
        while line := self.file.readline(MAX_LINE):
            if self.stopped():
                raise Unusable("stopped")
            self.line += 1
            if len(line) == MAX_LINE:
                raise self._refused(f"{_CHANGED}: line {self.line} is longer than any of a plan")
            if not line.endswith(b"\n"):
                raise self._truncated(at=self.line)
            yield line

    def _read(self, line: bytes) -> Json:
        try:
            return from_line(line)
        except ValueError:
            raise self._unreadable() from None

    def _count(self, read: Json) -> None:
        try:
            verdict = row_from_json(read, self.read_id)
        except (ValueError, KeyError):
            raise self._unreadable() from None
        self.rows += 1
        if isinstance(verdict, Finish):
            self.finishes += 1
            self.last_finish = self.line

    def _plan(self, trailer: Trailer, checksum: str) -> Plan:
        return Plan(
            path=self.path,
            header=self.header,
            rows=trailer.rows,
            finishes=trailer.finish,
            held_back=trailer.held_back,
            last_finish=self.last_finish,
            sha256=checksum,
            _read_id=self.read_id,
            _identity=self.identity,
        )

    def _unreadable(self) -> ConfigurationError:
        return self._refused(f"{_CHANGED}: line {self.line} is not of a plan")

    def _truncated(self, at: int) -> ConfigurationError:
        return self._refused(f"is truncated: line {at} is its last and has no end; make it anew")

    def _refused(self, why: str) -> ConfigurationError:
        return _refused(self.path, why)


def _held_back(trailer: Json) -> int:
    held_back = trailer.get("held_back")
    return held_back if type(held_back) is int else 0


def _identity(file: BinaryIO) -> _Identity:
    found = os.fstat(file.fileno())
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _refused(path: Path, why: str) -> ConfigurationError:
    return ConfigurationError(_of(path, why))


def _cannot(error: OSError) -> str:
    return f"cannot be read: {error.strerror or error}"


def _of(path: Path, what: str) -> str:
    return one_line(visible(f"--plan {path}: {what}"), 1000)
