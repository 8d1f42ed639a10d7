"""Records which rows are stuck, or about to be lost, and removes what no longer holds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler.core.model import RowId
from reconciler.core.stuck.condition import Reason, Recorded, RowAtRisk, StuckRow
from reconciler.postgres.connection.engine import translated
from reconciler.postgres.connection.queries import fetch
from reconciler.postgres.journal.schema_check import transact
from reconciler.postgres.journal.stuck.entries import (
    REASONS,
    TABLES,
    by_key_or_text,
    has_running_row,
    of_scope,
)
from reconciler.postgres.schema import at_risk, stuck
from reconciler.postgres.table.mapping import MappedTable

#: The columns besides those of the key; also the fields of what is recorded.
_COMMON = ("workflow_id", "reason", "text", "since", "seen")
_OF_STUCK = (*_COMMON, "run_id", "workflow_type", "cause")
_OF_AT_RISK = (*_COMMON, "lost_at")
_READING, _WRITING = "read reconciler.stuck", "write reconciler.stuck"


class PostgresStuckRows:
    """The entries of one configuration and namespace; see the port `StuckRows`."""

    def __init__(
        self, engine: AsyncEngine, table: Callable[[], Awaitable[MappedTable]], namespace: str
    ) -> None:
        """`table` maps the table, once; `namespace`: see `MappedTable.scope_namespace`."""
        self._engine, self._table, self._namespace = engine, table, namespace

    async def is_empty(self) -> bool:
        """Whether there are no entries."""
        table = await self._table()
        some = [sa.exists().where(of_scope(each, table, self._namespace)) for each in TABLES]
        ((found,),) = await self._read(sa.select(sa.or_(*some)))
        return not found

    async def known(self, ids: Sequence[RowId]) -> Recorded:
        """The entries of these rows, read with one statement."""
        statements = _Statements(await self._table(), self._namespace)
        stuck_rows: dict[RowId, StuckRow] = {}
        rows_at_risk: dict[RowId, RowAtRisk] = {}
        for row in await self._read(statements.known(ids)):
            row_id, values = ids[row.place - 1], row._asdict()
            if not row.is_stuck:
                fields = {name: values[name] for name in _OF_AT_RISK}
                rows_at_risk[row_id] = RowAtRisk(row_id=row_id, **fields)
            elif row.reason in REASONS:
                fields = {name: values[name] for name in _OF_STUCK}
                fields["reason"] = Reason(row.reason)
                stuck_rows[row_id] = StuckRow(row_id=row_id, **fields)
        return Recorded(stuck_rows, rows_at_risk)

    async def record(
        self,
        stuck_rows: Sequence[StuckRow],
        rows_at_risk: Sequence[RowAtRisk],
        fine: Sequence[RowId],
    ) -> None:
        """Replace the entries of these rows, in one transaction; does nothing without rows."""
        make = _Statements(await self._table(), self._namespace)
        statements: list[sa.Insert | sa.Delete] = []
        if stuck_rows:
            statements.append(make.upsert(stuck, stuck_rows, _OF_STUCK))
        if rows_at_risk:
            statements.append(make.upsert(at_risk, rows_at_risk, _OF_AT_RISK))
        stuck_ids, risk_ids = ([row.row_id for row in rows] for rows in (stuck_rows, rows_at_risk))
        # Rows may share a key that is unique only together with other columns.
        if not_stuck := {*fine, *risk_ids}.difference(stuck_ids):
            statements.append(make.delete(stuck, [*not_stuck]))
        if not_at_risk := {*fine, *stuck_ids}.difference(risk_ids):
            statements.append(make.delete(at_risk, [*not_at_risk]))
        if statements:
            await transact(self._engine, statements, _WRITING)

    async def forget_ended(self) -> None:
        """Remove the entries whose rows are gone or not running."""
        make = _Statements(await self._table(), self._namespace)

        async def forget(as_text: bool) -> int:  # noqa: FBT001
            statements = [make.delete_ended(each, as_text=as_text) for each in TABLES]
            return await transact(self._engine, statements, _WRITING)

        await by_key_or_text(forget)

    async def counts(self) -> Mapping[Reason, tuple[int, datetime]]:
        """The entries of stuck rows and the earliest `since`, by reason."""
        table = await self._table()
        query = sa.select(stuck.c.reason, sa.func.count(), sa.func.min(stuck.c.since))
        query = query.where(of_scope(stuck, table, self._namespace)).group_by(stuck.c.reason)
        found = await self._read(query)
        return {Reason(name): (rows, since) for name, rows, since in found if name in REASONS}

    async def _read(self, query: sa.Executable) -> Sequence[Any]:
        with translated(_READING):
            return await fetch(self._engine, query)


class _Statements:
    def __init__(self, table: MappedTable, namespace: str) -> None:
        self._table, self._namespace = table, namespace

    def known(self, ids: Sequence[RowId]) -> sa.CompoundSelect[Any]:
        """The entries of these rows in both tables, with their `place` from 1."""
        return sa.union_all(*(self._known(each, ids) for each in TABLES))

    def _known(self, entries: sa.Table, ids: Sequence[RowId]) -> sa.Select[Any]:
        given = self._given(ids)
        columns = [
            (entries.c[name] if name in entries.c else sa.cast(sa.null(), kind)).label(name)
            for name, kind in _KINDS.items()
        ]
        same = sa.and_(self._is_among(entries, ids), entries.c.row_id == self._row_id(given))
        return sa.select(
            given.c.place, sa.literal(entries is stuck).label("is_stuck"), *columns
        ).select_from(sa.join(given, entries, same))

    def upsert(
        self,
        entries: sa.Table,
        rows: Sequence[StuckRow] | Sequence[RowAtRisk],
        names: Sequence[str],
    ) -> sa.Insert:
        """In the order of the keys, so that two passes never wait for each other."""
        # Rows may share a key, see `record`.
        by_id = {row.row_id: row for row in rows}
        values = {name: [getattr(row, name) for row in by_id.values()] for name in names}
        given = self._given(list(by_id), values)
        row_id, scope = self._row_id(given).label("row_id"), self._scope
        constants = [sa.literal(value, sa.Text) for value in scope.values()]
        wanted = sa.select(*constants, row_id, *(given.c[name] for name in names))
        insert = postgresql.insert(entries).from_select(
            [*scope, "row_id", *names], wanted.order_by(row_id)
        )
        return insert.on_conflict_do_update(
            index_elements=list(entries.primary_key),
            set_={name: insert.excluded[name] for name in names},
        )

    def delete(self, entries: sa.Table, ids: Sequence[RowId]) -> sa.Delete:
        """The entries of these rows."""
        return self._delete(entries, self._is_among(entries, ids))

    def delete_ended(self, entries: sa.Table, *, as_text: bool) -> sa.Delete:
        """The entries whose rows are not running."""
        running = has_running_row(self._table, entries, as_text=as_text)
        return self._delete(entries, sa.and_(self._is_of_scope(entries), sa.not_(running)))

    def _delete(self, entries: sa.Table, which: sa.ColumnElement[bool]) -> sa.Delete:
        """Leave out what another pass has locked: that one takes care of it."""
        key = sa.tuple_(*entries.primary_key)
        free = sa.select(*entries.primary_key).where(which)
        free = free.with_for_update(skip_locked=True, of=entries)
        return sa.delete(entries).where(key.in_(free))

    @property
    def _scope(self) -> Mapping[str, str]:
        return {"table_name": self._table.scope, "namespace": self._namespace}

    def _is_of_scope(self, entries: sa.Table) -> sa.ColumnElement[bool]:
        return of_scope(entries, self._table, self._namespace)

    def _is_among(self, entries: sa.Table, ids: Sequence[RowId]) -> sa.ColumnElement[bool]:
        """As an array: with a join, PostgreSQL may read all entries, as it expects few."""
        keys = sa.select(self._row_id(self._given(ids))).scalar_subquery()
        wanted = sa.func.array(keys, type_=postgresql.ARRAY(sa.Text))
        return sa.and_(self._is_of_scope(entries), entries.c.row_id == sa.any_(wanted))

    def _given(
        self, ids: Sequence[RowId], values: Mapping[str, Sequence[Any]] | None = None
    ) -> sa.TableValuedAlias:
        """Rows, with `place` from 1, as one array per column."""
        key, values = self._table.key, values or {}
        kinds = {"id": sa.LargeBinary() if key.is_bytes else self._table.id.type}
        kinds |= {name: _KINDS[name] for name in values}
        arrays = {"id": [key.encode(row_id) for row_id in ids], **values}
        return (
            sa.func.unnest(*(sa.literal(arrays[n], postgresql.ARRAY(k)) for n, k in kinds.items()))
            .table_valued(*(sa.column(*each) for each in kinds.items()), with_ordinality="place")
            .render_derived(name="given")
        )

    def _row_id(self, given: sa.TableValuedAlias) -> sa.ColumnElement[Any]:
        """The key as the tables have it."""
        key = self._table.key
        if key.is_bytes:
            return sa.func.convert_from(given.c.id, key.encoding, type_=sa.Text)
        return sa.cast(given.c.id, sa.Text)


#: The types of all columns, by name.
_KINDS: Mapping[str, Any] = {
    **{name: stuck.c[name].type for name in _OF_STUCK},
    "lost_at": at_risk.c.lost_at.type,
}
