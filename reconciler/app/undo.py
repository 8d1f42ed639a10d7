"""Reading the journal, and undoing a pass. Neither needs Temporal."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from enum import IntEnum
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from reconciler.app.hold_lease import hold_lease
from reconciler.app.lease import this_process
from reconciler.core.errors import ConfigurationError, DatabaseUnfit
from reconciler.core.model import Mode
from reconciler.core.report.request import PassRequest
from reconciler.core.undo import UndoReport
from reconciler.passes.lifecycle import reported
from reconciler.passes.undo import run_undo
from reconciler.postgres.connection.clock import DatabaseClock, host_time
from reconciler.postgres.connection.engine import translated, using_engine
from reconciler.postgres.journal.entries import StoredPass
from reconciler.postgres.journal.history import PassHistory
from reconciler.postgres.journal.lease import PostgresLease, lease_name
from reconciler.postgres.journal.reader import JournalReader
from reconciler.postgres.journal.schema_check import check_readable, check_schema
from reconciler.postgres.journal.undo import PostgresUndo
from reconciler.postgres.schema import passes
from reconciler.postgres.table.mapping import MappedTable, map_table
from reconciler.postgres.table.relation import find_relation
from reconciler.postgres.table.scope import is_judged_alike, scope_of
from reconciler.settings.model import Settings

#: The most passes named in the error for an ambiguous id.
NAMED = 5


@asynccontextmanager
async def open_journal(settings: Settings) -> AsyncIterator[JournalReader]:
    """Open the journal and the history for reading; this needs no other right on the schema.

    All of it; for a target, that of its passes: others may use the same database. Raises
    `ConfigurationError` if there is no journal, `DatabaseUnusable`.
    """
    _check_journal(settings)
    async with using_engine(settings.dsn()) as engine:
        await check_readable(engine)
        yield JournalReader(engine, scope=await _scope(engine, settings))


async def _scope(engine: AsyncEngine, settings: Settings) -> str | None:
    """What the passes of a target cover; None where there are no targets."""
    if not settings.target:
        return None
    return scope_of(await _identity(engine, settings), settings.table_mapping())


async def _identity(engine: AsyncEngine, settings: Settings) -> str:
    with translated(f"read {settings.table}"):
        async with engine.connect() as connection:
            relation, _ = await find_relation(connection, settings.table_mapping())
    return relation.identity


class Fit(IntEnum):
    """Whether the settings of a target are those of a pass; the smallest fits best."""

    #: The pass was over what the target is about.
    SAME = 0
    #: It was over rows of the same table, judged by the same columns: they can undo it.
    ALIKE = 1
    OTHER = 2


async def look_for(settings: Settings, prefix: str) -> Sequence[tuple[StoredPass, Fit]]:
    """The passes with this id prefix in the target's database, whichever target's they are.

    Raises `ConfigurationError` if there is no journal, `DatabaseUnusable`.
    """
    _check_journal(settings)
    async with using_engine(settings.dsn()) as engine:
        await check_readable(engine)
        found = await JournalReader(engine).find(prefix, NAMED + 1)
        return [(each, await _fit(engine, settings, each)) for each in found]


async def _fit(engine: AsyncEngine, settings: Settings, stored: StoredPass) -> Fit:
    try:
        identity, mapping = await _identity(engine, settings), settings.table_mapping()
    except DatabaseUnfit:  # the table may be gone, and that of another target is meant
        return Fit.OTHER
    if stored.table == scope_of(identity, mapping):
        return Fit.SAME
    alike = stored.table is not None and is_judged_alike(stored.table, identity, mapping)
    return Fit.ALIKE if alike else Fit.OTHER


async def undo(settings: Settings, pass_id: str, *, dry_run: bool) -> UndoReport:
    """Restore the rows that a pass has changed, unless they have changed since.

    `pass_id` may be a prefix. Raises `ConfigurationError` if there is no journal or not exactly one
    such pass, or if it was over another table. An unusable database and a request to stop are in
    the report, even if they come before the undo starts.
    """
    _check_journal(settings)
    request = PassRequest(Mode.UNDO, dry_run)
    report = UndoReport.begin(request, host_time())
    report.undone = pass_id
    with reported(report):
        async with using_engine(settings.dsn()) as engine:
            await _undo(engine, settings, report)
    return report


async def _undo(engine: AsyncEngine, settings: Settings, report: UndoReport) -> None:
    if report.request.dry_run:
        await check_readable(engine)
    else:
        await check_schema(engine, looping=True)  # for the lease
    report.started_at = await DatabaseClock(engine).read()
    undone = await find_pass(JournalReader(engine), report.undone, settings)
    report.undone = str(undone.id)
    report.request = replace(report.request, asked={"undo": report.undone})
    mapping = settings.table_mapping()
    table = await map_table(
        engine,
        mapping,
        writing=not report.request.dry_run,
        also=mapping.names.written,
        dry_run=report.request.dry_run,
    )
    _check_table(undone, table)
    report.expected = sum((undone.report or {}).get("written", {}).values())
    # The undo of a backfill holds the lease of backfills, so none is running.
    is_idle = undone.mode == Mode.BACKFILL and not report.request.dry_run
    report.unended = undone.finished_at is None and not is_idle
    scope, namespace = undone.table or table.scope, undone.namespace or ""
    history = PassHistory(engine, scope, namespace, settings.status_values())
    journal = PostgresUndo(engine, table)
    if report.request.dry_run:
        await run_undo(journal, history, report, settings.batch_size)
        return
    # The lease of backfills: a concurrent one would finish the restored rows again.
    lease = PostgresLease(engine, lease_name(scope, Mode.BACKFILL), namespace, this_process())
    async with hold_lease(lease, "a backfill or an undo", report):
        # If this backfill were resumed, it would not visit the restored rows again.
        await history.close(passes.c.id == undone.id)
        await run_undo(journal, history, report, settings.batch_size)


async def find_pass(journal: JournalReader, prefix: str, settings: Settings) -> StoredPass:
    """The pass with this id prefix. Raises `ConfigurationError` unless there is exactly one."""
    found = await journal.find(prefix, NAMED + 1)
    check_one([each.id for each in found], prefix, settings)
    return found[0]


def check_one(found: Sequence[UUID], prefix: str, settings: Settings) -> None:
    """Raise `ConfigurationError` unless exactly one pass with this prefix was found."""
    if not found:
        raise ConfigurationError(
            f"there is no pass {prefix}",
            "see `reconciler passes`; changes are kept for RECONCILER_JOURNAL_RETENTION, "
            f"{_human(settings.journal_retention)}",
        )
    if len(found) > 1:
        named = ", ".join(map(str, found[:NAMED]))
        more = ", …" if len(found) > NAMED else ""
        raise ConfigurationError(f"{prefix} is the beginning of several passes: {named}{more}")


class NothingWritten(ConfigurationError):
    """No pass in the journal has changed the table."""


async def find_last(settings: Settings) -> tuple[StoredPass, int]:
    """The last pass that has written to the table, and the number of rows it has changed.

    Raises `NothingWritten`, `ConfigurationError` if there is no journal, `DatabaseUnusable`.
    """
    async with open_journal(settings) as journal:
        mapping = settings.table_mapping()
        table = await map_table(journal.engine, mapping, writing=False)
        last = await journal.last_writing(table.scope)
        if last is None:
            raise NothingWritten(f"no pass in the journal has changed {table.scope}")
        pass_id, rows = last
        return await find_pass(journal, str(pass_id), settings), rows


def _check_journal(settings: Settings) -> None:
    if not settings.journal:
        raise ConfigurationError(
            "RECONCILER_JOURNAL is off, so changes are only in the log and cannot be undone"
        )


def _check_table(undone: StoredPass, table: MappedTable) -> None:
    # Other rows of the table do not matter: all that the pass changed are in the journal. Other
    # columns do, because the journal does not name those that have its values.
    if undone.table and not is_judged_alike(undone.table, table.identity, table.mapping):
        raise ConfigurationError(
            f"pass {undone.id} was over table {undone.table}, and the settings say {table.scope}",
            "set RECONCILER_TABLE and RECONCILER_COLUMNS__* as they were for it",
        )


def _human(duration: timedelta) -> str:
    days, rest = divmod(duration, timedelta(days=1))
    return f"{days} days" if not rest else f"{duration / timedelta(hours=1):g} hours"
