"""Writing a dry run to a file: a plan to apply later (.jsonl), or a table to look at (.csv).

The file gets its name only at the end of the pass, so that nobody finds half a plan.
"""

from __future__ import annotations

import contextlib
import csv
import errno
import os
import re
import tempfile
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from io import StringIO
from pathlib import Path
from typing import Self

from reconciler.core.errors import ConfigurationError, Unusable
from reconciler.core.model import Finish, OldValues, RowId, Verdict
from reconciler.core.observer import Observer, PassView
from reconciler.core.text import one_line, visible
from reconciler.plan.format import Json, PlanHeader, Trailer, to_line
from reconciler.plan.rows import row_to_json

OldValuesOf = Callable[[Sequence[RowId]], Awaitable[Mapping[RowId, OldValues]]]


class PlanWriter(Observer):
    """Writes the verdicts of a dry run, with the values that they would replace.

    As a context manager, it removes the file of a pass that has not completed. Only the owner may
    read and change the file (mode 0600): workflow ids and error messages are customers' data, and
    whatever is in a plan will be written.

    Raises `ConfigurationError` at once if the file cannot be written: a dry run may take hours.
    """

    def __init__(self, path: Path, header: PlanHeader, old_values: OldValuesOf) -> None:
        """`old_values`: the values of rows now, by their ids; called once per page."""
        self.path = path
        self.rows = 0
        self.finishes = 0
        self._missing = 0
        self._old_values = old_values
        self._format = _format_for(path, header)
        try:
            if _exists(path):
                raise ConfigurationError(
                    _of(path, "exists already"), "name another file, or remove it"
                )
            if not path.parent.is_dir():
                raise ConfigurationError(_of(path, f"there is no folder {path.parent}"))
            # In the same folder, because a rename is only atomic within a file system.
            number, name = tempfile.mkstemp(prefix=".plan-", suffix=".part", dir=path.parent)
        except OSError as error:
            raise ConfigurationError(_of(path, _cannot(error))) from error
        self._temporary = Path(name)
        self._file = os.fdopen(number, "wb")
        self._file.write(self._format.head())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the file, unless it has got its name."""
        with contextlib.suppress(OSError):  # a full disk, which no longer matters
            self._file.close()
        self._temporary.unlink(missing_ok=True)

    async def on_page(self, report: PassView, verdicts: Sequence[Verdict]) -> None:  # noqa: ARG002
        """Write a page. Raises `Unusable`: without its plan the dry run is worth nothing."""
        if not verdicts:
            return
        old = await self._old_values([verdict.row.id for verdict in verdicts])
        lines = [row_to_json(verdict, old.get(verdict.row.id)) for verdict in verdicts]
        try:
            self._file.write(self._format.page(lines))
        except OSError as error:
            raise Unusable(_of(self.path, _cannot(error))) from error
        self.rows += len(verdicts)
        finishes = [verdict for verdict in verdicts if isinstance(verdict, Finish)]
        self.finishes += len(finishes)
        self._missing += sum(finish.missing is not None for finish in finishes)

    async def on_pass(self, report: PassView) -> None:
        """Give the file its name, or remove it if the pass was aborted. Raises `Unusable`."""
        try:
            if report.error is None:
                self._keep(Trailer(self.rows, self.finishes, self._held_back(report)))
        except OSError as error:
            raise Unusable(_of(self.path, _cannot(error))) from error
        finally:
            self.close()

    def _held_back(self, report: PassView) -> int:
        """The missing rows, if the pass would not have finished any of them.

        Then the breaker tripped, or the pass reached a limit before it could decide.
        """
        closed = self.finishes - self._missing
        return 0 if report.tally.written.total() > closed else self._missing

    def _keep(self, trailer: Trailer) -> None:
        self._file.write(self._format.end(trailer))
        self._file.flush()
        os.fsync(self._file.fileno())
        if _exists(self.path):  # created by somebody else meanwhile
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        self._temporary.rename(self.path)


class _Jsonl:
    """A file to apply: its trailer shows whether it is complete and unchanged."""

    def __init__(self, header: PlanHeader) -> None:
        self._header = header
        self._sha256 = sha256()

    def head(self) -> bytes:
        return self._summed(to_line(self._header.to_json()))

    def page(self, rows: Iterable[Json]) -> bytes:
        return self._summed(b"".join(map(to_line, rows)))

    def end(self, trailer: Trailer) -> bytes:
        self._summed(trailer.figures())
        return trailer.line(self._sha256.hexdigest())

    def _summed(self, content: bytes) -> bytes:
        self._sha256.update(content)
        return content


_COLUMNS = (
    *("id", "workflow_id", "run_id", "created_at", "verdict", "reason", "detail"),
    *("old_status", "old_completed_at", "old_error_message"),
    *("new_status", "new_completed_at", "new_error_message"),
    *("temporal_status", "final_run_id", "close_time", "workflow_type", "namespace", "updated_at"),
)

# A formula begins with =, +, - or @, of any width.
_FORMULA = re.compile(
    r"""(^|;)(?=[\s"]*[=+\-@\u2212\ufe62\ufe63\ufe66\ufe6b\uff0b\uff0d\uff1d\uff20])"""
)
_NUMBER = re.compile(r"-?\d+(\.\d+)?", re.ASCII)


class _Csv:
    """A table for people: column names and rows, and nothing else."""

    def head(self) -> bytes:
        return (",".join(_COLUMNS) + "\n").encode()

    def page(self, rows: Iterable[Json]) -> bytes:
        text = StringIO()
        writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
        for row in map(_flat, rows):
            writer.writerow({name: _cell(value) for name, value in row.items()})
        return text.getvalue().encode()

    def end(self, trailer: Trailer) -> bytes:  # noqa: ARG002
        return b""


def _cell(value: object) -> str:
    """A value that a spreadsheet shows and does not run.

    What it would take for a formula gets an apostrophe in front, but not a number, such as a
    negative key. Some spreadsheets separate cells at semicolons, so the text after one counts as a
    cell, too. See OWASP, "CSV injection".
    """
    text = "" if value is None else str(value)
    return text if _NUMBER.fullmatch(text) else _FORMULA.sub(r"\1'", visible(text))


def _flat(row: Json) -> Json:
    nested = ("old", "new", "evidence")
    flat = {name: value for name, value in row.items() if name not in nested}
    for name in ("old", "new"):
        flat |= {f"{name}_{column}": value for column, value in (row[name] or {}).items()}
    return flat | (row["evidence"] or {})


def _format_for(path: Path, header: PlanHeader) -> _Jsonl | _Csv:
    match path.suffix.lower():
        case ".jsonl":
            return _Jsonl(header)
        case ".csv":
            return _Csv()
    raise ConfigurationError(
        _of(path, "ends in neither .jsonl nor .csv"),
        "use .jsonl to apply it later, .csv to look at it",
    )


def _exists(path: Path) -> bool:
    """Whether there is anything of that name, even a dangling link. Raises `OSError`."""
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    return True


def _cannot(error: OSError) -> str:
    return f"cannot be written: {error.strerror or error}"


def _of(path: Path, what: str) -> str:
    return one_line(visible(f"--output {path}: {what}"), 1000)
