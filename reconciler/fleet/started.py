"""The backfill of a table that is under way in Temporal: found, or started."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from reconciler.app.app import App
from reconciler.core.errors import ConfigurationError, TemporalUnfit, TemporalUnusable
from reconciler.core.text import one_line
from reconciler.fleet.messages import WORKFLOW, Backfill, Json, Result, Speed
from reconciler.temporal.client.error_codes import is_unknown_namespace, is_unreachable

#: The memo of what was asked, by which the same command finds its backfill again; and how fast.
_ASKED, _SPEED = "asked", "speed"


@dataclass(frozen=True, slots=True)
class Running:
    """A backfill that is under way."""

    handle: WorkflowHandle[Any, Result]
    #: What `Fleet.start` was given.
    asked: Json
    #: What differs from one command to the other only in how long it takes.
    speed: Json

    @property
    def dry_run(self) -> bool:
        """Whether it writes nothing."""
        return bool(self.asked.get("dry_run"))


class Fleet:
    """The backfills of one table by the workers of its task queue, one at a time."""

    def __init__(self, app: App) -> None:
        settings = app.settings
        namespace = settings.worker_namespace or app.namespace.name
        self._client = Client(app.rpc.client.service_client, namespace=namespace)
        self._queue = settings.task_queue
        #: Who works on them, for people.
        self.where = f"task queue {self._queue}, namespace {namespace}"
        self.workflow_id = _workflow_id(settings.target, app.table.scope, app.scope_namespace)

    async def running(self) -> Running | None:
        """The one that is under way. Raises `TemporalUnusable`."""
        handle = self._client.get_workflow_handle(self.workflow_id, result_type=Result)
        async with self._translated():
            try:
                found = await handle.describe()
            except RPCError as error:
                if error.status is not RPCStatusCode.NOT_FOUND or is_unknown_namespace(error):
                    raise
                return None
            if found.status is not WorkflowExecutionStatus.RUNNING:
                return None
            memo = await found.memo()
            return Running(handle, memo.get(_ASKED, {}), memo.get(_SPEED, {}))

    async def start(self, backfill: Backfill, asked: Json) -> Running:
        """Start one. Raises `ConfigurationError` if another was started meanwhile."""
        kind, speed = "dry run" if backfill.dry_run else "backfill", speed_of(backfill.speed)
        async with self._translated():
            try:
                handle = await self._client.start_workflow(
                    WORKFLOW,
                    backfill,
                    id=self.workflow_id,
                    task_queue=self._queue,
                    result_type=Result,
                    memo={_ASKED: asked, _SPEED: speed},
                    static_summary=one_line(f"{kind} of {backfill.previewed.table}", 200),
                )
            except WorkflowAlreadyStartedError as error:
                raise ConfigurationError(
                    f"another backfill of {backfill.previewed.table} has just been started",
                    "give the command again to follow it",
                ) from error
        return Running(handle, asked, speed)

    async def cancel(self, running: Running) -> None:
        """Cancel it, if it has not ended by now. Raises `TemporalUnusable`."""
        async with self._translated():
            try:
                await running.handle.cancel()
            except RPCError as error:
                if error.status is not RPCStatusCode.NOT_FOUND:
                    raise

    @asynccontextmanager
    async def _translated(self) -> AsyncIterator[None]:
        try:
            yield
        except RPCError as error:
            kind = TemporalUnusable if is_unreachable(error) else TemporalUnfit
            text = one_line(error.message, 300).rstrip(".")
            raise kind(
                f"cannot use workflow {self.workflow_id}: {text}", f"check {self.where}"
            ) from error


def _workflow_id(target: str, scope: str, namespace: str) -> str:
    """The same for the same rows, and so at most one is under way on them."""
    digest = hashlib.sha256(f"{scope}\0{namespace}".encode()).hexdigest()[:8]
    return "-".join(filter(None, ["reconciler-backfill", target, digest]))


def speed_of(speed: Speed) -> Json:
    """What the options of the command say about it."""
    return {"--distribute": speed.workers, "--max-rps": speed.max_rps}


def same(one: Json, other: Json) -> bool:
    """Whether two commands ask for the same."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
