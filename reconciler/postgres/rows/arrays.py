"""Rows given to a statement, as one array per column: one statement for any number of rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from reconciler.core.model import Outcome
from reconciler.core.text import one_line
from reconciler.postgres.connection.encoding import escaped, is_plain, storable
from reconciler.postgres.table.mapping import MappedTable


def given_rows(
    table: MappedTable, kinds: Mapping[str, sa.types.TypeEngine[Any]]
) -> sa.TableValuedAlias:
    """A relation of keys, these columns, and `place`, which counts the rows from 1.

    Each column is an array parameter `given_<name>`: in an UPDATE, SQLAlchemy keeps parameters
    named like columns to itself.
    """
    return given_values(table, {"id": table.id.type, **kinds})


def given_values(
    table: MappedTable, kinds: Mapping[str, sa.types.TypeEngine[Any]]
) -> sa.TableValuedAlias:
    """The same without the keys."""
    arrays = [
        sa.bindparam(f"given_{name}", type_=postgresql.ARRAY(kind)) for name, kind in kinds.items()
    ]
    columns = [sa.column(name, kind) for name, kind in kinds.items()]
    given = sa.func.unnest(*arrays).table_valued(*columns, with_ordinality="place")
    return given.render_derived(name=table.beside("given"))


def as_arrays(
    pass_id: str, outcomes: Sequence[Outcome], table: MappedTable, codec: str
) -> Mapping[str, Any]:
    """A batch of outcomes as the parameters of `guarded_write`.

    `codec` is Python's for the database's encoding, as far as known.
    """
    return {
        "given_pass_id": UUID(pass_id),
        "given_id": [o.row.id for o in outcomes],
        "given_workflow_id": [o.row.workflow_id for o in outcomes],
        "given_run_id": [o.row.run_id for o in outcomes],
        "given_namespace": [o.row.namespace for o in outcomes],
        "given_created_at": [o.row.created_at for o in outcomes],
        "given_updated_at": [o.row.updated_at for o in outcomes],
        "given_status": [o.status for o in outcomes],
        "given_message": _messages(outcomes, table, codec),
        "given_evidence": [o.temporal_status for o in outcomes],
        "given_final_run_id": [o.final_run_id for o in outcomes],
        "given_close_time": [o.completed_at for o in outcomes],
        "given_workflow_type": [escaped(o.workflow_type, codec) or None for o in outcomes],
    }


def _messages(outcomes: Sequence[Outcome], table: MappedTable, codec: str) -> list[str | None]:
    """The messages as the column takes them: cut to its length, in its encoding."""
    messages, longest = [o.error_message for o in outcomes], table.error_message_length
    if longest is not None:
        messages = [message and _cut(message, longest) for message in messages]
    if is_plain("".join(filter(None, messages))):
        return messages
    return [message and storable(message, codec) for message in messages]


def _cut(message: str, longest: int) -> str:
    return message if len(message) <= longest else one_line(message, longest)
