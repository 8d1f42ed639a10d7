"""How long a message may be by the checks on its column, or on its domain.

The length in a type is known from the type. A check has to be asked.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from reconciler.core.errors import DatabaseUnfit
from reconciler.postgres.table.checks.columns import COLUMN, limits, passes, test_of
from reconciler.postgres.table.names import TableNames
from reconciler.postgres.table.relation import BASE, DECLARED, Relation
from reconciler.postgres.table.types import is_text

_LONGEST = "longest"  # the key in a column's `info`
#: No setting allows a longer message, so that one is as good as no limit.
_ENOUGH = 2**20
#: Lengths are tried in these steps, so that a low limit is found without a long text.
_STEP = 8


def longest_message(column: sa.Column[Any] | None) -> int | None:
    """The characters that the column can hold; None if it has no limit, or there is no column."""
    if column is None:
        return None
    known = getattr(column.type, "length", None), column.info.get(_LONGEST)
    return min((each for each in known if each is not None), default=None)


async def message_problems(
    connection: AsyncConnection, relation: Relation, table: sa.Table, names: TableNames
) -> AsyncIterator[DatabaseUnfit]:
    """A problem if the column takes no message; else notes in its `info` how long one may be."""
    name = names.error_message
    if name is None or (column := table.c.get(name)) is None or not is_text(column):
        return
    found = (await connection.execute(COLUMN, {"oid": relation.oid, "column": name})).one()
    if not found.checks and column.info[DECLARED] == column.info[BASE]:
        return
    quoted = connection.dialect.identifier_preparer.quote(name)
    test = test_of(quoted, found.type, found.checks, exactly=True)
    longest = await _longest(connection, test)
    if not longest:
        kind = f"{found.type}{limits((), found.checks)}"
        yield DatabaseUnfit(
            f"column {name} of {names.full_name}, {kind}, cannot hold a message",
            "set RECONCILER_COLUMNS__ERROR_MESSAGE (empty: no such column)",
        )
    elif longest < _ENOUGH:
        column.info[_LONGEST] = longest


async def _longest(connection: AsyncConnection, test: sa.TextClause) -> int:
    """The length of the longest text that passes; 0 if none does, `_ENOUGH` if all do."""
    low, high = 0, 1
    while await passes(connection, test, "x" * high):
        if high == _ENOUGH:
            return high
        low, high = high, min(high * _STEP, _ENOUGH)
    while high - low > 1:
        middle = (low + high) // 2
        if await passes(connection, test, "x" * middle):
            low = middle
        else:
            high = middle
    return low
