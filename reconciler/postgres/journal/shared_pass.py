"""The table for a pass that two processes may run over the same rows, as long as neither knows it.

A worker that is cut off from Temporal goes on for a while beside its successor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from reconciler.core.model import Outcome, RowId
from reconciler.core.ports import Written
from reconciler.postgres.connection.engine import translated
from reconciler.postgres.connection.queries import fetch
from reconciler.postgres.rows.store import PostgresStore
from reconciler.postgres.schema import changes
from reconciler.postgres.table.keys import has_bytes

_TEXTS = postgresql.ARRAY(sa.Text)
# By the index on workflow ids: a pass may have millions of changes.
_OWN = sa.select(changes.c.row_id).where(
    changes.c.workflow_id == sa.any_(sa.bindparam("workflow_ids", type_=_TEXTS)),
    changes.c.row_id == sa.any_(sa.bindparam("row_ids", type_=_TEXTS)),
    changes.c.pass_id == sa.bindparam("pass_id", type_=sa.Uuid),
    changes.c.table_name == sa.bindparam("table_name", type_=sa.Text),
)


class SharedPassStore(PostgresStore):
    """Does not take a row for lost that the same pass has written elsewhere.

    The journal has it, which corrects the count of the whole pass: here it counts as not tried.
    """

    async def finish_if_running(self, pass_id: str, outcomes: Sequence[Outcome]) -> Written:
        """See `PostgresStore`."""
        written = await super().finish_if_running(pass_id, outcomes)
        known = written.ids | written.refused.keys() | written.untried
        lost = [outcome for outcome in outcomes if outcome.row.id not in known]
        if not lost:
            return written
        return replace(written, untried=written.untried | await self._own(pass_id, lost))

    async def _own(self, pass_id: str, lost: Sequence[Outcome]) -> set[RowId]:
        texts = {str(o.row.id): o.row.id for o in lost if not has_bytes(o.row.id)}
        given = {
            "workflow_ids": [outcome.row.workflow_id for outcome in lost],
            "row_ids": list(texts),
            "pass_id": UUID(pass_id),
            "table_name": self._table.identity,
        }
        with translated("read reconciler.changes"):
            return {texts[row_id] for (row_id,) in await fetch(self._engine, _OWN, given)}
