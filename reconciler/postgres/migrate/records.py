"""What passes have recorded in reconciler's schema: whose it is, and how that of one is removed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from reconciler.core.model import Mode
from reconciler.postgres.journal.lease import lease_name
from reconciler.postgres.schema import (
    at_risk,
    changes,
    closings,
    is_over,
    lease,
    made_by,
    passes,
    stuck,
)


@dataclass(frozen=True, slots=True)
class Records:
    """How much is recorded, and of which scopes."""

    passes: int = 0
    changes: int = 0
    #: Other scopes, each with the number of its passes.
    others: tuple[tuple[str, int], ...] = ()


def count_all(connection: sa.Connection, own: Sequence[str], scope: str | None) -> Records:
    """All records in the tables that exist, `own`. `scope`: whose are not those of others."""
    passed, changed = (
        (connection.scalar(sa.select(sa.func.count()).select_from(each)) if each.name in own else 0)
        for each in (passes, changes)
    )
    by_scope = _by_scope(connection, own)
    others = tuple((of, count) for of, count in by_scope if of and of != scope)
    return Records(passed or 0, changed or 0, others)


def count_of(connection: sa.Connection, own: Sequence[str], scope: str | None) -> Records:
    """The records of one scope."""
    if lease.name not in own or scope is None:
        return Records()
    over, number = is_over(scope), sa.func.count()
    passed = connection.scalar(sa.select(number).select_from(passes).where(over))
    changed = connection.scalar(sa.select(number).select_from(changes).where(made_by(over)))
    return Records(passed or 0, changed or 0)


def scopes(connection: sa.Connection, own: Sequence[str]) -> frozenset[str | None]:
    """The scopes that have been passed over."""
    return frozenset(scope for scope, _ in _by_scope(connection, own))


def _by_scope(connection: sa.Connection, own: Sequence[str]) -> Sequence[tuple[str | None, int]]:
    # Before revision 0003, passes did not name their table, and there was no lease.
    if lease.name not in own:
        return []
    scope = passes.c.table_name
    by_scope = sa.select(scope, sa.func.count()).group_by(scope).order_by(scope)
    return [(of, count) for of, count in connection.execute(by_scope)]


def removing(connection: sa.Connection, own: Sequence[str], scope: str) -> list[str]:
    """The statements that remove what is recorded of a scope, in any namespace."""
    leases = [lease_name(scope, of) for of in ("", Mode.BACKFILL)]
    which = {
        changes: made_by(is_over(scope)),
        passes: is_over(scope),
        lease: lease.c.table_name.in_(leases),
        **{table: table.c.table_name == scope for table in (closings, stuck, at_risk)},
    }
    statements = []
    for table, is_ours in which.items():
        if not {table.name, lease.name} <= set(own):
            continue
        if connection.scalar(sa.select(sa.exists().select_from(table).where(is_ours))):
            literal = {"literal_binds": True}
            removal = sa.delete(table).where(is_ours)
            statements.append(
                str(removal.compile(dialect=connection.dialect, compile_kwargs=literal))
            )
    return statements
