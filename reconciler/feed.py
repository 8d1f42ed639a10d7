"""What a pass does at the same time: read the next page, ask Temporal about many rows at once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence

import structlog

from reconciler.core.model import Observation, RunRow, Unknown
from reconciler.core.progress import Span
from reconciler.errors import Unusable
from reconciler.ports import Probe, Store

log = structlog.get_logger(__name__)


async def read_ahead(
    store: Store, span: Span | None, size: int
) -> AsyncGenerator[Sequence[RunRow], None]:
    """A span's running rows page by page; the next is read while the caller works on this one.

    The cursor moves past every row of a page, whatever becomes of them: rows that are left as
    they are cannot be met again, nor strand those after them.
    """
    if span is None:
        return
    until = span.until
    page = await store.scan_running(span.after, until, size)
    while page:
        following = asyncio.ensure_future(store.scan_running(page[-1].id, until, size))
        try:
            yield page
            page = await following
        finally:
            following.cancel()
            with contextlib.suppress(asyncio.CancelledError, Unusable):
                await following


async def observe_all(
    probe: Probe, rows: Sequence[RunRow], concurrency: int, observed: dict[RunRow, Observation]
) -> None:
    """Ask Temporal about each row, `concurrency` rows at a time; the answers go into `observed`."""
    waiting = iter(rows)

    async def ask() -> None:
        for row in waiting:
            observed[row] = await _observe(probe, row)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(concurrency, len(rows))):
                group.create_task(ask())
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None


async def _observe(probe: Probe, row: RunRow) -> Observation:
    try:
        return await probe.observe(row)
    except Unusable:
        raise
    except Exception as error:
        # A row that trips over a bug of ours must not keep the others from being repaired.
        log.exception("could not judge a row", workflow_id=row.workflow_id, row_id=str(row.id))
        return Unknown(f"internal error: {error!r}")
