"""What the passes of one configuration cover, as a text: the table, two columns, and which rows.

Leases, heartbeats, histories, cursors and plans are kept by it. Two loops over one table that
select different rows, or judge them by other columns, have different texts and do not meet.
"""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.core.policy import StatusValues
from reconciler.postgres.table.names import TableMapping, TableNames
from reconciler.postgres.table.row_filter import quoted_name, quoted_value

_NAMES, _STATUSES = TableNames(), StatusValues()


def scope_of(identity: str, mapping: TableMapping) -> str:
    """The same text for the same rows; `identity` is the table's name in records.

    What has its default value is omitted: `jobs by wf_id, state where state = on and tenant = 7`.
    """
    conditions = " and ".join(sorted(_conditions(mapping)))
    judged = judged_columns(identity, mapping.names)
    return f"{judged} where {conditions}" if conditions else judged


def is_judged_alike(scope: str, identity: str, mapping: TableMapping) -> bool:
    """Whether a scope is of the same table and columns, whatever its rows."""
    judged = judged_columns(identity, mapping.names)
    return scope == judged or scope.startswith(f"{judged} where ")


def judged_columns(identity: str, names: TableNames) -> str:
    """The beginning of a scope: the table, and the columns by which its rows are judged."""
    columns = names.workflow_id, names.status
    if columns == (_NAMES.workflow_id, _NAMES.status):
        return identity
    return f"{identity} by {', '.join(map(quoted_name, columns))}"


def _conditions(mapping: TableMapping) -> Iterator[str]:
    status, running = mapping.names.status, mapping.statuses.running
    if (status, running) != (_NAMES.status, _STATUSES.running):
        values = sorted(quoted_value(value) for value in running if value is not None)
        values += ["null"] if None in running else []
        yield f"{quoted_name(status)} = {', '.join(values)}"
    if mapping.where is not None:
        yield from map(str, mapping.where.conditions)
