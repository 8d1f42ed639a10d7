"""Compares targets with each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import sqlalchemy as sa

from reconciler.core.errors import ConfigurationError, DatabaseUnusable
from reconciler.doctor.findings import Finding, not_checked
from reconciler.doctor.rules import targets as rules
from reconciler.doctor.runner import STATEMENT_TIMEOUT
from reconciler.postgres.connection.engine import close, open_engine
from reconciler.postgres.connection.identity import database_identity
from reconciler.postgres.connection.queries import fetch
from reconciler.postgres.table.mapping import map_table
from reconciler.settings.model import Settings
from reconciler.settings.targets import share_rows
from reconciler.temporal.config.load import load_config

# Another one, such as a standby or a restored backup, has the same identity otherwise.
_STARTED = sa.text("SELECT pg_postmaster_start_time()::text")


async def compare(targets: Sequence[Settings]) -> Sequence[Finding]:
    """What is wrong between targets. Those that cannot be used have been reported, and are left."""
    return [*rules.limits(list(_limits(targets))), *await _rows(targets)]


def _limits(targets: Sequence[Settings]) -> Iterator[rules.Limits]:
    for settings in targets:
        try:
            config = load_config(settings.temporal_environment(), settings.proxy_url)
        except ConfigurationError:
            continue
        place = config["target_host"], config.get("namespace", "default")
        yield rules.Limits(settings.target, place, settings.list_limits())


async def _rows(targets: Sequence[Settings]) -> Sequence[Finding]:
    """Whether URLs that differ lead to one table, from which both targets select the same rows.

    URLs that do not differ are refused when the settings are read.
    """
    pairs = [pair for pair in combinations(targets, 2) if _would_share(*pair)]
    places: dict[str, object] = {}
    for settings in {each.target: each for pair in pairs for each in pair}.values():
        try:
            places[settings.target] = await _place(settings)
        except DatabaseUnusable:
            continue
    names = [(one.target, other.target) for one, other in pairs]
    known = [pair for pair in names if places.keys() >= set(pair)]
    same = [(one, other) for one, other in known if places[one] == places[other]]
    if not same and len(known) < len(names):
        return [not_checked(rules.ROWS, "the table of a target cannot be used")]
    return rules.rows(same)


def _would_share(one: Settings, other: Settings) -> bool:
    """Whether the targets share rows if their databases are one."""
    url = {"database_url": one.database_url}
    return share_rows(one, other.model_copy(update=url))


async def _place(settings: Settings) -> object:
    """What only the same table of the same server has. Raises `DatabaseUnusable`."""
    engine = open_engine(settings.dsn(), statement_timeout=STATEMENT_TIMEOUT)
    try:
        table = await map_table(engine, settings.table_mapping(), writing=False)
        started = await fetch(engine, _STARTED)
        return started[0][0], await database_identity(engine, table.regclass)
    finally:
        await close(engine)
