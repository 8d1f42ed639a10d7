"""Keeping a dry run: a plan to be applied (.jsonl), or a table to be looked at (.csv).

The file appears under its name when the pass has come to its end, and not before: half a plan is
never found.
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
from typing import Protocol, Self

from reconciler.core.errors import ConfigurationError, Unusable
from reconciler.core.model import Finish, OldValues, RowId, Verdict
from reconciler.core.ports import Observer, PassView
from reconciler.core.text import one_line, visible
from reconciler.plan.format import Json, PlanHeader, Trailer, to_line
from reconciler.plan.rows import row_of, row_to_json

OldValuesOf = Callable[[Sequence[RowId]], Awaitable[Mapping[RowId, OldValues]]]


class PlanWriter(Observer):
    """Writes down the verdicts of a dry run, beside the values that they would replace.

    Used as a context manager, it leaves nothing behind of a pass that has not come to its end.
    The file is for its owner alone (mode 0600): workflow ids and error messages are customers'
    data, and who may change a plan decides what is written.

    Raises `ConfigurationError` at once if the file cannot be written: a dry run may take hours.
    """

    def __init__(self, path: Path, header: PlanHeader, old_values: OldValuesOf) -> None:
        """`old_values`: what rows say now, by their ids; asked once per page."""
        self.path, self._old_values = path, old_values
        self.rows = self.finishes = self._missing = 0
        self._format = _format_for(path, header)
        head = self._format.head()
        try:
            if _exists(path):
                raise ConfigurationError(
                    _of(path, "exists already: name another file, or remove it")
                )
            if not path.parent.is_dir():
                raise ConfigurationError(_of(path, f"there is no folder {path.parent}"))
            # Beside its target, because only within a file system a rename is atomic.
            number, name = tempfile.mkstemp(prefix=".plan-", suffix=".part", dir=path.parent)
        except OSError as error:
            raise ConfigurationError(_of(path, _cannot(error))) from error
        self._temporary, self._file = Path(name), os.fdopen(number, "wb")
        self._file.write(head)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove what the pass has left if it has not come to its end."""
        with contextlib.suppress(OSError):  # what a full disk does not take is not wanted either
            self._file.close()
        self._temporary.unlink(missing_ok=True)

    async def on_page(self, report: PassView, verdicts: Sequence[Verdict]) -> None:  # noqa: ARG002
        """Write down a page. Raises `Unusable`: without its plan the dry run is worth nothing."""
        if not verdicts:
            return
        old = await self._old_values([row_of(verdict).id for verdict in verdicts])
        lines = [row_to_json(verdict, old.get(row_of(verdict).id)) for verdict in verdicts]
        try:
            self._file.write(self._format.page(lines))
        except OSError as error:
            raise Unusable(_of(self.path, _cannot(error))) from error
        self.rows += len(verdicts)
        finishes = [verdict for verdict in verdicts if isinstance(verdict, Finish)]
        self.finishes += len(finishes)
        self._missing += sum(finish.missing is not None for finish in finishes)

    async def on_pass(self, report: PassView) -> None:
        """Give the file its name; nothing is kept of a pass that was aborted. Raises `Unusable`."""
        try:
            if report.error is None:
                self._keep(Trailer(self.rows, self.finishes, self._held_back(report)))
        except OSError as error:
            raise Unusable(_of(self.path, _cannot(error))) from error
        finally:
            self.close()

    def _held_back(self, report: PassView) -> int:
        """Rows to be finished because they are missing, if the pass would have finished none.

        Then the breaker held them back, or the pass ended at a limit before it could tell.
        """
        closed = self.finishes - self._missing
        return 0 if report.tally.written.total() > closed else self._missing

    def _keep(self, trailer: Trailer) -> None:
        self._file.write(self._format.end(trailer))
        self._file.flush()
        os.fsync(self._file.fileno())
        if _exists(self.path):  # somebody else's by now
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        self._temporary.rename(self.path)


class _Format(Protocol):
    def head(self) -> bytes: ...

    def page(self, rows: Iterable[Json]) -> bytes: ...

    def end(self, trailer: Trailer) -> bytes: ...


class _Jsonl:
    """For machines, who can tell whether it is whole and as it was made."""

    def __init__(self, header: PlanHeader) -> None:
        self._header, self._sha256 = header, sha256()

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
    *("temporal_status", "final_run_id", "close_time", "workflow_type", "namespace"),
)


# A formula begins with =, +, - or @, of any width.
_FORMULA = re.compile(
    r"""(^|;)(?=[\s"]*[=+\-@\u2212\ufe62\ufe63\ufe66\ufe6b\uff0b\uff0d\uff1d\uff20])"""
)
_NUMBER = re.compile(r"-?\d+(\.\d+)?", re.ASCII)


class _Csv:
    """For people: the same columns side by side, and no header or trailer to stumble over."""

    def head(self) -> bytes:
        return self._table([dict(zip(_COLUMNS, _COLUMNS, strict=True))])

    def page(self, rows: Iterable[Json]) -> bytes:
        return self._table(map(_flat, rows))

    def end(self, trailer: Trailer) -> bytes:  # noqa: ARG002
        return b""

    @staticmethod
    def _table(rows: Iterable[Json]) -> bytes:
        text = StringIO()
        writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
        writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
        return text.getvalue().encode()


def _cell(value: object) -> str:
    """A value as a spreadsheet can only show it.

    What such a program would take for a formula gets an apostrophe before it; a number, such as a
    negative key, is none. Where semicolons separate cells, what follows one is another cell: see
    OWASP, "CSV injection".
    """
    text = "" if value is None else str(value)
    return text if _NUMBER.fullmatch(text) else _FORMULA.sub(r"\1'", visible(text))


def _flat(row: Json) -> Json:
    nested = ("old", "new", "evidence")
    flat = {name: value for name, value in row.items() if name not in nested}
    for name in ("old", "new"):
        flat |= {f"{name}_{column}": value for column, value in (row[name] or {}).items()}
    return flat | (row["evidence"] or {})


def _format_for(path: Path, header: PlanHeader) -> _Format:
    match path.suffix.lower():
        case ".jsonl":
            return _Jsonl(header)
        case ".csv":
            return _Csv()
    raise ConfigurationError(
        _of(path, "ends neither in .jsonl, to be applied later, nor in .csv, to be looked at")
    )


def _exists(path: Path) -> bool:
    """Whether there is anything of that name, be it a link to nothing. Raises `OSError`."""
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    return True


def _cannot(error: OSError) -> str:
    return f"cannot be written: {error.strerror or error}"


def _of(path: Path, what: str) -> str:
    return one_line(visible(f"--output {path}: {what}"), 1000)
