"""Builds an `App`, which can run passes, from the settings."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.runtime import Runtime

from reconciler.app.app import App
from reconciler.app.before_pass import log_connected
from reconciler.postgres.connection.clock import DatabaseClock
from reconciler.postgres.connection.pools import Pools
from reconciler.postgres.journal.bookkeeping import Bookkeeping
from reconciler.postgres.table.mapping import MappedTable, map_table
from reconciler.settings.model import Settings
from reconciler.temporal.client.connect import Connections, Route
from reconciler.temporal.client.namespace import Namespace
from reconciler.temporal.client.rpc import Rpc
from reconciler.temporal.config.load import load_config
from reconciler.temporal.failures.failure_decoder import (
    FailureDecoder,
    decoding_failures,
    make_codec,
)
from reconciler.temporal.failures.redactor import Redactor
from reconciler.temporal.observe.namespaces import NamespacesProbe
from reconciler.temporal.stuck.diagnosis import TemporalDiagnosis


class Shared:
    """What the targets of a process share: connections to Temporal, rate limits, pools."""

    def __init__(self, targets: Sequence[tuple[Settings, Mapping[str, Any]]]) -> None:
        """`targets`: all of them, each with what `load_config` returns for it.

        Logs once where the rate limits of one namespace differ: the lowest counts.
        """
        self._connections = Connections(_route(*each) for each in targets)
        self._pools = Pools(_database(settings) for settings, _ in targets)

    def engine(self, settings: Settings) -> AbstractAsyncContextManager[AsyncEngine]:
        """The engine of this target's database."""
        return self._pools.using(_database(settings), settings.dsn())

    def temporal(
        self, settings: Settings, config: Mapping[str, Any], runtime: Runtime | None
    ) -> AbstractAsyncContextManager[tuple[Rpc, Namespace]]:
        """The calls to this target's Temporal, and its namespace. Raises as `connect` does."""
        return self._connections.open(_route(settings, config), runtime)


def _route(settings: Settings, config: Mapping[str, Any]) -> Route:
    return Route(config, settings.max_rps, settings.visibility_rps, settings.target)


def _database(settings: Settings) -> str:
    return settings.database_url_file or settings.database_url.get_secret_value()


@asynccontextmanager
async def open_app(
    settings: Settings,
    *,
    writing: bool,
    dry_run: bool = False,
    looping: bool = False,
    by_type: bool = False,
    ask_archive: bool = False,
    temporal: Mapping[str, Any] | None = None,
    runtime: Runtime | None = None,
    shared: Shared | None = None,
) -> AsyncIterator[App]:
    """Connect to both servers and check them; close everything at the end.

    Raises `ConfigurationError` or `Unusable` before anything is written. `writing` and `looping`
    also check the rights to write rows and to use the lease, `dry_run` all else that keeps rows
    from being written, `by_type` the workflow type column.
    `ask_archive`: see `TemporalProbe`. `temporal`: arguments of `Client.connect`, if not loaded.
    `shared`: what it shares with the other targets of this process.
    """
    temporal = temporal or load_config(settings.temporal_environment(), settings.proxy_url)
    shared = shared or Shared([(settings, temporal)])
    codec = make_codec(*settings.decoder())
    async with (
        decoding_failures(codec, settings.codec_timeout.total_seconds()) as decoder,
        shared.engine(settings) as engine,
    ):
        mapping = settings.table_mapping()
        also = [mapping.names.workflow_type] if by_type else []
        table = await map_table(engine, mapping, writing=writing, also=also, dry_run=dry_run)
        books = Bookkeeping(engine, journal=settings.journal)
        if writing:
            await books.check(looping=looping)
        async with shared.temporal(settings, temporal, runtime) as (rpc, namespace):
            log_connected(temporal["target_host"], namespace, table)
            parts = engine, table, books, rpc, namespace, decoder
            yield _app(settings, *parts, ask_archive=ask_archive)


def _app(
    settings: Settings,
    engine: AsyncEngine,
    table: MappedTable,
    books: Bookkeeping,
    rpc: Rpc,
    namespace: Namespace,
    decoder: FailureDecoder | None,
    *,
    ask_archive: bool,
) -> App:
    policy = settings.policy(namespace.retention, table.error_message_length)
    over = table.scope, table.scope_namespace(namespace.name)
    redactor = Redactor(settings.redaction(), policy.error_message_limit)
    return App(
        settings=settings,
        namespace=namespace,
        policy=replace(policy, namespace=namespace.name, shift=table.shift),
        rpc=rpc,
        feed_rpc=rpc.apart(),
        history=books.history(*over, policy.statuses),
        table=table,
        clock=DatabaseClock(engine),
        books=books,
        pruning=books.pruning(*over, settings.journal_retention),
        engine=engine,
        probe=NamespacesProbe(
            rpc,
            ask_archive=ask_archive,
            decoder=decoder,
            redactor=redactor,
            described=namespace,
        ),
        diagnosis=TemporalDiagnosis(rpc, redactor, decoder),
        redactor=redactor,
        decoder=decoder,
    )
