"""`reconciler migrate`, `migrate --remove` and `init` over real servers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TextIO

from reconciler.app import suggestion
from reconciler.app.suggested_file import target_lines, toml_lines
from reconciler.core.errors import ConfigurationError, ReconcilerError
from reconciler.core.text import visible
from reconciler.postgres.connection.engine import using_engine
from reconciler.postgres.diagnose.candidates import (
    find_tables,
    sample_values,
    unset_by_triggers,
    zones_of_default,
)
from reconciler.postgres.migrate import removal, upgrade
from reconciler.postgres.migrate.removable import OtherTarget, Removal
from reconciler.postgres.table.candidates import full_name
from reconciler.postgres.table.names import TableMapping
from reconciler.settings.model import Settings
from reconciler.settings.sources import read_environment
from reconciler.settings.table import split_name
from reconciler.settings.targets import share_database
from reconciler.temporal.client.connect import connect
from reconciler.temporal.config.load import load_config


async def migrate(
    settings: Settings, others: Sequence[Settings] = (), *, create_table: bool = False
) -> list[str]:
    """Migrate the database to this version; returns what was done, a line each.

    `others`: other targets, whose indexes are known to be needed.
    """
    return await upgrade.migrate(
        *_arguments(settings),
        own_schema=settings.journal,
        create_table=create_table,
        others=[each.table_mapping() for each in others],
    )


async def migration_sql(
    settings: Settings,
    output: TextIO,
    earlier: Sequence[Settings] = (),
    *,
    create_table: bool,
) -> None:
    """Print what `migrate` would run on this database.

    `earlier`: the targets for which that has been printed; nothing is printed twice.
    """
    variables = read_environment()
    here = [each for each in earlier if share_database(settings, each, variables)]
    await upgrade.migration_sql(
        *_arguments(settings),
        output,
        own_schema=settings.journal and not any(each.journal for each in here),
        create_table=create_table,
        earlier=[each.table_mapping() for each in here],
    )


async def find_removal(
    settings: Settings, others: Sequence[Settings] = (), *, with_columns: bool
) -> Removal:
    """What `migrate` has created, to show before it is removed.

    `others`: the targets that stay, and with them what they need.
    """
    but = [_other(settings, each) for each in others]
    return await removal.find_removal(*_arguments(settings), with_columns=with_columns, but=but)


async def remove(
    settings: Settings, others: Sequence[Settings] = (), *, with_columns: bool
) -> list[str]:
    """Remove it; returns what could not be removed, a line each."""
    but = [_other(settings, each) for each in others]
    return await removal.remove(*_arguments(settings), with_columns=with_columns, but=but)


def _other(settings: Settings, other: Settings) -> OtherTarget:
    same = share_database(settings, other, read_environment())
    return OtherTarget(other.target, other.table_mapping(), same, other.journal)


def _arguments(settings: Settings) -> tuple[str, TableMapping]:
    return settings.database_url.get_secret_value(), settings.table_mapping()


async def suggest(
    settings: Settings, table: str | None, workflow_id: str | None = None, target: str | None = None
) -> tuple[str, str]:
    """The text of a `reconciler.toml` for this database, and the table's name.

    It holds neither URLs nor secrets. `workflow_id`: a column or a template, if none is named like
    that. `target`: the text is that target's section, and `settings` are those of all targets.
    Raises `ConfigurationError` if the table, a column or a value is ambiguous or not found,
    `DatabaseUnusable`.
    """
    wanted = table or (settings.table if settings.names_table and not target else "")
    if workflow_id is not None and not wanted:
        raise ConfigurationError(
            "--workflow-id needs the table", "reconciler init TABLE --workflow-id …"
        )
    async with using_engine(settings.dsn()) as engine:
        parts = split_name(wanted)
        tables = await find_tables(engine, parts[-1] if wanted else None)
        found = suggestion.choose(tables, parts, workflow_id)
        columns = suggestion.columns_of(found, workflow_id)
        status = columns.status
        seen = await sample_values(engine, found, status.name, columns.id.name)
        made = columns.created_at
        zones = await zones_of_default(engine, found, made.name) if made else []
        unset = await unset_by_triggers(engine, found) is not None
    name = full_name(found)
    statuses = suggestion.statuses_of(name, status, seen)
    lines = list(toml_lines(found, columns, statuses, seen, zones, unset=unset))
    of, above = (
        "",
        "# The environment and .env win over this file. DATABASE_URL and TEMPORAL_* belong there.",
    )
    if target:
        lines = list(target_lines(lines, target, settings))
        of, above = (
            f" --target {target}",
            "# The section wins over the environment, .env, and what is above the targets.",
        )
    lines = [
        f"# Settings for table {visible(name)}, as `reconciler init` understands it.",
        f"# Check every line; `reconciler doctor{of}` then checks the whole of it.",
        above,
        f"# {await _temporal(settings)}",
        *([] if target else [""]),
        *lines,
    ]
    return "\n".join(lines) + "\n", name


async def _temporal(settings: Settings) -> str:
    """A comment about Temporal, without its address, which may hold a secret."""
    try:
        config = load_config(settings.temporal_environment(), settings.proxy_url)
        _, namespace = await connect(config, settings.max_rps)
    except ReconcilerError:
        return "Temporal did not answer: `reconciler doctor` says why."
    days = namespace.retention / timedelta(days=1)
    return (
        f"Temporal answered: namespace {visible(namespace.name)}, "
        f"which keeps closed workflows for {days:g} d."
    )
