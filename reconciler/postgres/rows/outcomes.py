"""A batch of outcomes as the guarded write takes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from reconciler.core.model import Outcome
from reconciler.core.text import one_line
from reconciler.postgres.connection.encoding import is_plain, storable
from reconciler.postgres.table.mapping import MappedTable


def as_arrays(
    pass_id: str, outcomes: Sequence[Outcome], table: MappedTable, codec: str
) -> Mapping[str, Any]:
    """What the parameters of `guarded_write` are; `codec` is that of the database, as far as known.

    Arrays, each of one value per row.
    """
    return {
        "pass_id": UUID(pass_id),
        "given_id": [o.row.id for o in outcomes],
        "given_workflow_id": [o.row.workflow_id for o in outcomes],
        "given_run_id": [o.row.run_id for o in outcomes],
        "given_namespace": [o.row.namespace for o in outcomes],
        "given_created_at": [o.row.created_at for o in outcomes],
        "given_status": [o.status for o in outcomes],
        "given_message": _messages(outcomes, table, codec),
        "given_evidence": [o.temporal_status for o in outcomes],
        "given_final_run_id": [o.final_run_id for o in outcomes],
        "given_close_time": [o.completed_at for o in outcomes],
    }


def _messages(outcomes: Sequence[Outcome], table: MappedTable, codec: str) -> list[str | None]:
    """As the column takes them, which may have changed since the start."""
    messages, longest = [o.error_message for o in outcomes], table.error_message_length
    if longest is not None:
        messages = [message and _cut(message, longest) for message in messages]
    if is_plain("".join(filter(None, messages))):
        return messages
    return [message and storable(message, codec) for message in messages]


def _cut(message: str, longest: int) -> str:
    return message if len(message) <= longest else one_line(message, longest)
