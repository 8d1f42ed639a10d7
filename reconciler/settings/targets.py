"""Targets: several tables, databases or clusters that one process serves, `[targets.NAME]`.

Each may have any setting that is not about the process as a whole. Settings outside of the
sections are defaults for all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from reconciler.core.errors import ConfigurationError
from reconciler.postgres.table.row_filter import Condition, RowFilter
from reconciler.settings.database_url import databases
from reconciler.settings.load import load_target
from reconciler.settings.model import Settings
from reconciler.settings.sources import config_file, read_environment, read_targets
from reconciler.settings.table import split_name


def load_targets(only: str | None = None, **overrides: Any) -> Sequence[Settings]:
    """The settings of each target, in the order of `reconciler.toml`; or of one of them.

    Where there are no targets: the settings, which have no target. `overrides`: see
    `load_settings`. Raises `ConfigurationError`, also if two targets select the same rows.
    """
    if only is None:
        chosen = [load_target(Settings, name, overrides) for name in read_targets() or [""]]
        _check_distinct(combinations(chosen, 2))
        return chosen
    if not only:
        raise ConfigurationError("--target is empty", "name a target of reconciler.toml")
    settings = load_target(Settings, only, overrides)
    _check_distinct((settings, other) for other in _readable(read_targets(), overrides, but=only))
    return [settings]


def _readable(
    names: Iterable[str], overrides: Mapping[str, Any], *, but: str
) -> Iterator[Settings]:
    """The settings of the other targets, if they can be read: their secrets may not be here."""
    for name in names:
        if name != but:
            try:
                yield load_target(Settings, name, overrides)
            except ConfigurationError:
                continue


def _check_distinct(pairs: Iterable[tuple[Settings, Settings]]) -> None:
    """Raise `ConfigurationError` if the targets of a pair may select the same rows."""
    variables = read_environment()
    for one, other in pairs:
        if not share_rows(one, other, variables):
            continue
        targets = f"{config_file()}: the targets {one.target} and {other.target}"
        fix = "give one of them another table, database, status column, running values or where"
        if _schema(one) != _schema(other):
            fix = "name the schema in both tables, unless it is one table"
        raise ConfigurationError(f"{targets} select the same rows of table {one.table}", fix)


def share_rows(one: Settings, other: Settings, variables: Mapping[str, str] | None = None) -> bool:
    """Whether a row may belong to both targets, as far as the settings show it. Symmetric.

    `variables`: those of libpq, which complete the URLs. The namespace does not matter: both
    targets would ask about the row.
    """
    schema, another = _schema(one), _schema(other)
    return (
        split_name(one.table)[-1] == split_name(other.table)[-1]
        and (schema == another or None in (schema, another))
        and one.columns.status == other.columns.status
        and not all(a.excludes(b) for a in _selection(one) for b in _selection(other))
        and share_database(one, other, variables)
    )


def share_database(
    one: Settings, other: Settings, variables: Mapping[str, str] | None = None
) -> bool:
    """Whether both name the same database; by another host, as a pooler's, it is another one.

    `variables`: those of libpq, which complete the URLs.
    """
    urls = [each.database_url.get_secret_value() for each in (one, other)]
    places, others = (databases(url, variables or {}) for url in urls)
    return bool(places & others)


def _schema(settings: Settings) -> str | None:
    *schema, _ = split_name(settings.table)
    return schema[0] if schema else None


def _selection(settings: Settings) -> Sequence[RowFilter]:
    """The running rows of a target: those that fulfil any of these."""
    status, running = settings.columns.status, settings.statuses.running
    values = tuple(value for value in running if value is not None)
    with_status = [Condition(status, values)] if values else []
    without = [Condition(status)] if None in running else []
    conditions = settings.where.conditions if settings.where else ()
    return [RowFilter((*conditions, each)) for each in (*with_status, *without)]
