"""The journal and the history as people and scripts read them. Reads only.

In pages by key, newest first, each a short transaction: a journal of millions of changes is read
without holding it in memory, or a transaction open.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler.postgres.connection.dialect import PoolerSafeDialect
from reconciler.postgres.connection.encoding import shown
from reconciler.postgres.connection.engine import translated
from reconciler.postgres.schema import changes, passes
from reconciler.postgres.table.types import readable

#: Rows read by one statement.
PAGE = 500


@dataclass(frozen=True, slots=True)
class StoredPass:
    """A row of `reconciler.passes`."""

    id: UUID
    mode: str
    #: None in passes from before revision 0003, unless they have changed something.
    table: str | None
    namespace: str | None
    started_at: datetime
    #: None, with the outcome, while it runs, and for ever if it was killed.
    finished_at: datetime | None
    outcome: str | None
    error: str | None
    host: str
    version: str
    asked: Mapping[str, Any] | None
    report: Mapping[str, Any] | None

    def as_json(self) -> Mapping[str, Any]:
        """The pass as `--json` prints it."""
        return {
            "pass_id": str(self.id),
            "mode": self.mode,
            "table": self.table,
            "namespace": self.namespace,
            "started_at": self.started_at.isoformat(),
            "finished_at": _text(self.finished_at),
            "outcome": self.outcome,
            "error": self.error,
            "host": self.host,
            "version": self.version,
            "asked": self.asked,
            "report": self.report,
        }


@dataclass(frozen=True, slots=True)
class Values:
    """What a pass writes into a row."""

    status: str
    completed_at: datetime | None
    error_message: str | None

    def as_json(self) -> Mapping[str, Any]:
        """The values by the names of the columns, as they are called by default."""
        return {
            "status": self.status,
            "completed_at": _text(self.completed_at),
            "error_message": self.error_message,
        }


@dataclass(frozen=True, slots=True)
class StoredChange:
    """A row of `reconciler.changes`."""

    id: int
    pass_id: UUID
    changed_at: datetime
    table: str
    row_id: str
    workflow_id: str
    run_id: str | None
    old: Values
    new: Values
    temporal_status: str
    final_run_id: str | None
    close_time: datetime | None

    def as_json(self) -> Mapping[str, Any]:
        """The change as `--json` prints it."""
        return {
            "id": self.id,
            "pass_id": str(self.pass_id),
            "changed_at": self.changed_at.isoformat(),
            "table": self.table,
            "row_id": self.row_id,
            "workflow_id": self.workflow_id,
            "run_id": self.run_id,
            "old": self.old.as_json(),
            "new": self.new.as_json(),
            "evidence": {
                "temporal_status": self.temporal_status,
                "final_run_id": self.final_run_id,
                "close_time": _text(self.close_time),
            },
        }


class JournalReader:
    """Reads `reconciler.passes` and `reconciler.changes`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def find(self, pass_id: UUID) -> StoredPass | None:
        """A pass by its id. Raises `DatabaseUnusable`, as everything here does."""
        found = await self._read(_passes().where(passes.c.id == pass_id))
        return StoredPass(*found[0]) if found else None

    async def has_found_rows(self, table: str) -> bool:
        """Whether a pass over this table has ever looked at a row. Raises `DatabaseUnusable`."""
        scanned = sa.cast(passes.c.report["scanned"].astext, sa.Integer)
        found = sa.exists().where(passes.c.table_name == table, scanned > 0)
        with translated("read reconciler.passes"):
            async with self._engine.connect() as connection:
                return bool(await connection.scalar(sa.select(found)))

    async def passes(self, limit: int) -> AsyncGenerator[Sequence[StoredPass], None]:
        """The passes, newest first, page by page."""
        place = sa.tuple_(passes.c.started_at, passes.c.id)
        query = _passes().order_by(passes.c.started_at.desc(), passes.c.id.desc())
        after: sa.ColumnElement[bool] = sa.true()
        while limit > 0:
            read = await self._read(query.where(after).limit(min(PAGE, limit)))
            page = [StoredPass(*row) for row in read]
            if page:
                yield page
            if len(page) < PAGE:
                return
            limit -= PAGE
            after = place < sa.tuple_(page[-1].started_at, page[-1].id)

    async def changes(
        self, limit: int | None, pass_id: UUID | None = None, workflow_id: str | None = None
    ) -> AsyncGenerator[Sequence[StoredChange], None]:
        """The changes of a pass, of a workflow id, or all; newest first, page by page."""
        query = sa.select(*_CHANGE).order_by(changes.c.id.desc())
        if pass_id is not None:
            query = query.where(changes.c.pass_id == pass_id)
        if workflow_id is not None:
            query = query.where(changes.c.workflow_id == workflow_id)
        before: sa.ColumnElement[bool] = sa.true()
        while limit is None or limit > 0:
            read = await self._read(query.where(before).limit(min(PAGE, limit or PAGE)))
            codec = cast("PoolerSafeDialect", self._engine.dialect).codec
            page = [_change(row, codec) for row in read]
            if page:
                yield page
            if len(page) < PAGE:
                return
            limit = None if limit is None else limit - PAGE
            before = changes.c.id < page[-1].id

    async def _read(self, query: sa.Select[Any]) -> Sequence[Any]:
        with translated("read the journal"):
            async with self._engine.connect() as connection:
                await connection.execution_options(postgresql_readonly=True)
                rows: Sequence[Any] = (await connection.execute(query)).all()
                return rows


def _passes() -> sa.Select[Any]:
    # A pass from before revision 0003 does not say what it was over, but its changes do.
    of_changes = (
        sa.select(changes.c.table_name)
        .where(changes.c.pass_id == passes.c.id)
        .limit(1)
        .scalar_subquery()
    )
    ended = (passes.c.finished_at, passes.c.outcome, passes.c.error)
    return sa.select(
        passes.c.id,
        passes.c.mode,
        sa.func.coalesce(passes.c.table_name, of_changes),
        passes.c.namespace,
        passes.c.started_at,
        *ended,
        passes.c.host,
        passes.c.version,
        passes.c.asked,
        passes.c.report,
    )


def _read_change(column: sa.Column[Any]) -> sa.ColumnElement[Any]:
    if column.name.endswith("_completed_at"):
        return readable(column).label(column.name)
    if isinstance(column.type, sa.Text):
        # As bytes: of what rows said before, some may not be readable, and would hide the others.
        encoding = sa.func.getdatabaseencoding()
        return sa.func.convert_to(column, encoding, type_=sa.LargeBinary).label(column.name)
    return column


_CHANGE = [_read_change(column) for column in changes.c]


def _change(read: Any, codec: str) -> StoredChange:
    told = (shown(each, codec) if isinstance(each, bytes) else each for each in read)
    row = SimpleNamespace(**dict(zip(changes.c.keys(), told, strict=True)))
    return StoredChange(
        id=row.id,
        pass_id=row.pass_id,
        changed_at=row.changed_at,
        table=row.table_name,
        row_id=row.row_id,
        workflow_id=row.workflow_id,
        run_id=row.run_id,
        old=Values(row.old_status, row.old_completed_at, row.old_error_message),
        new=Values(row.new_status, row.new_completed_at, row.new_error_message),
        temporal_status=row.temporal_status,
        final_run_id=row.final_run_id,
        close_time=row.close_time,
    )


def _text(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()
