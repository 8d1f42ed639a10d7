"""The whole examination: both servers at the same time, then the checks that need both."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

from temporalio.runtime import Runtime

from reconciler.doctor.checks.both_sides import BothSides
from reconciler.doctor.checks.codec import check_codec
from reconciler.doctor.checks.database import DatabaseChecks
from reconciler.doctor.checks.feed import check_feed
from reconciler.doctor.checks.temporal import TemporalChecks
from reconciler.doctor.findings import Examination, Finding, not_checked
from reconciler.doctor.rules.clocks import TEMPORAL_CLOCK
from reconciler.doctor.rules.connection import NAMESPACE
from reconciler.doctor.rules.feed import FEED
from reconciler.doctor.rules.namespaces import NAMESPACES
from reconciler.doctor.rules.table import OLDEST
from reconciler.doctor.rules.workers import WORKERS
from reconciler.doctor.runner import STATEMENT_TIMEOUT, Checks
from reconciler.postgres.connection.engine import close, open_engine
from reconciler.settings.display import resolved_settings, resolved_temporal
from reconciler.settings.model import Settings


def _host_clock() -> datetime:
    return datetime.now(UTC)


async def examine(
    settings: Settings,
    temporal: Mapping[str, Any],
    *,
    runtime: Runtime | None = None,
    clock: Callable[[], datetime] = _host_clock,
    trying: bool = False,
) -> Examination:
    """Check everything that a pass relies on. Writes nothing, and ends within a minute.

    `temporal` are arguments of `Client.connect`; `clock` is this host's. `trying`: also try a
    write, and roll it back.
    """
    engine = open_engine(settings.dsn(), statement_timeout=STATEMENT_TIMEOUT)
    try:
        namespace = temporal.get("namespace", "default")
        database = DatabaseChecks(engine, settings, namespace, clock, trying=trying)
        server = TemporalChecks(temporal, settings.max_rps, runtime)
        # The codec first: importing its code blocks the loop, which would distort round trips.
        codec, *_ = await asyncio.gather(
            check_codec(settings, namespace), database.run(), server.run()
        )
        both_sides = await _check_both_sides(database, server, settings, clock)
    finally:
        await close(engine)
    shown = [
        *resolved_settings(settings),
        *resolved_temporal(temporal, settings.temporal_settings()),
    ]
    findings = [*database.checks.findings, *server.checks.findings, codec, *both_sides]
    return Examination(shown, findings)


async def _check_both_sides(
    database: DatabaseChecks,
    temporal: TemporalChecks,
    settings: Settings,
    clock: Callable[[], datetime],
) -> list[Finding]:
    table, rpc, namespace = database.table, temporal.rpc, temporal.namespace
    if table is None or rpc is None or namespace is None:
        why = " and ".join(_missing(database, temporal))
        names = [NAMESPACES] if settings.columns.namespace else []
        return [not_checked(name, why) for name in (*names, FEED, OLDEST, TEMPORAL_CLOCK)]
    both = BothSides(database.engine, table, rpc, namespace, settings.grace, database.now, clock)
    checks = Checks("one of the servers", "run it again")
    if both.has_namespaces:
        await checks.check(NAMESPACES, both.check_namespaces)
    await checks.check(FEED, partial(check_feed, settings, rpc, both.namespaces))
    await checks.check(OLDEST, both.check_oldest)
    if checks.unreachable is None:
        await checks.check(NAMESPACE, both.check_missing)
    await checks.check(TEMPORAL_CLOCK, both.check_clock)
    if checks.unreachable is None:
        await checks.check(WORKERS, both.check_workers)
    return checks.findings


def _missing(database: DatabaseChecks, temporal: TemporalChecks) -> Iterator[str]:
    if database.table is None:
        yield database.checks.unreachable or "the table cannot be used"
    if temporal.namespace is None:
        yield temporal.checks.unreachable or "the namespace cannot be used"
