"""The page of a workflow id: what `explain` says, and the journal of its rows."""

from __future__ import annotations

import asyncio
from functools import partial

from reconciler.app.app import App
from reconciler.app.explain import Explanation, explain, observe_id
from reconciler.app.overview.model import RowPage
from reconciler.app.overview.patience import in_time
from reconciler.core.model import Observation
from reconciler.core.stuck.condition import Condition
from reconciler.host.steady_clock import steady
from reconciler.postgres.connection.queries import QUICK
from reconciler.postgres.journal.entries import StoredChange
from reconciler.postgres.journal.reader import JournalReader

#: Seconds that an answer about an id is current.
CURRENT = 5.0
#: Ids that are asked about at the same time.
AT_ONCE = 4
#: The newest changes, and rows of one id, that are shown. A workflow of a schedule may have
#: thousands, and each is a question to Temporal.
CHANGES, ROWS = 50, 20


class RowPages:
    """Asks Temporal and the database about one workflow id at a time, within `MAX_RPS`."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._few = asyncio.Semaphore(AT_ONCE)
        self._asked: dict[str, tuple[float, asyncio.Task[RowPage]]] = {}

    async def get(self, workflow_id: str) -> RowPage:
        """What is known about it; views at the same time share one question."""
        now = steady()
        for id_, (at, task) in list(self._asked.items()):
            if task.done() and now - at >= CURRENT:
                del self._asked[id_]
        if workflow_id not in self._asked:
            self._asked[workflow_id] = now, asyncio.create_task(self._ask(workflow_id))
        return await asyncio.shield(self._asked[workflow_id][1])

    async def _ask(self, workflow_id: str) -> RowPage:
        (explained, why), (changes, no_changes) = await asyncio.gather(
            in_time(partial(self._explain, workflow_id)),
            in_time(partial(self._changes, workflow_id)),
        )
        rows, current, condition = explained or ([], None, None)
        return RowPage(
            workflow_id=workflow_id,
            now=self._app.clock.now(),
            namespace=self._app.scope_namespace,
            explanations=tuple(rows),
            only_newest=len(rows) >= ROWS,
            changes=tuple(changes or ()),
            current=current,
            condition=condition,
            error=why or no_changes,
        )

    async def _explain(
        self, workflow_id: str
    ) -> tuple[list[Explanation], Observation | None, Condition | None]:
        async with self._few:
            rows = await explain(self._app, workflow_id, ROWS)
            if rows:
                return rows, None, None
            return rows, *await observe_id(self._app, workflow_id)

    async def _changes(self, workflow_id: str) -> list[StoredChange]:
        if not self._app.journals:
            return []
        reader = JournalReader(self._app.engine, QUICK, self._app.listed_scope)
        async with self._few:
            pages = reader.changes(CHANGES, workflow_id=workflow_id)
            return [each async for page in pages for each in page]
