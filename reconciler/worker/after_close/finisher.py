"""From a notice to the row: what Temporal says about the run, the verdict, the write.

The observation, the decision, the text and the write are those of a pass and of the main path's
activity; this only puts them together for one run.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, MutableMapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio.client import Client

from reconciler.core.model import (
    Closed,
    CloseStatus,
    Finish,
    Observation,
    RunRow,
    Unknown,
    Verdict,
)
from reconciler.core.policy import Policy
from reconciler.core.text import one_line
from reconciler.core.verdict import decide
from reconciler.temporal.client.error_codes import RowError
from reconciler.temporal.client.execution_info import to_datetime
from reconciler.temporal.client.rate_limiter import RateLimiter
from reconciler.temporal.client.rpc import Rpc
from reconciler.temporal.failures.codec import Codec
from reconciler.temporal.failures.failure_decoder import FailureDecoder
from reconciler.temporal.observe.probe import TemporalProbe
from reconciler.temporal.observe.single_run import observe_run
from reconciler.worker.after_close.notice import EndNotice
from reconciler.worker.database.source import Source
from reconciler.worker.database.writer import RowWriter
from reconciler.worker.report import EndReport

_log = logging.getLogger("reconciler.worker")


class Finisher:
    """Finishes rows of runs that have ended."""

    def __init__(
        self,
        client: Callable[[], Client],
        source: Source,
        writer: Callable[[], RowWriter],
        limiter: RateLimiter,
    ) -> None:
        """`client`: the worker's, which may be replaced by one with other credentials.

        `writer`: that of the current event loop. Raises `ConfigurationError`.
        """
        self._client, self._limiter = client, limiter
        self._rpc = Rpc(client(), self._limiter)
        self._codec = source.codec()
        self._decoder = _decoder(self._codec, source.codec_timeout)
        self._writer, self._statuses = writer, source.statuses

    async def close(self) -> None:
        """Close the codec, if there is one."""
        if self._codec and self._decoder:
            self._decoder.log_undecoded()
            await self._codec.close()

    def start_round(self) -> None:
        """Forget which workflows got no answer before."""
        self._rpc.start_pass()

    async def look(self, notice: EndNotice) -> Verdict | None:
        """The verdict about the chain that ends with this run.

        None if the run is not its last, or if the notice is of an attempt that Temporal refused:
        then the end that counts has a notice of its own. Raises `TemporalUnusable`.
        """
        if (client := self._client()) is not self._rpc.client:
            self._rpc = Rpc(client, self._limiter)
        probe = TemporalProbe(self._rpc, decoder=self._decoder)
        observation = await observe_run(probe, notice.workflow_id, notice.run_id)
        statuses = self._statuses
        if _is_completed(observation) and notice.is_graded:
            try:
                if not await self._has_ended_the_run(notice):
                    return None
            except RowError as error:
                observation = Unknown(str(error))
            statuses = replace(statuses, completed=notice.status)
        if observation is None:
            return None
        # No limit: the writer cuts the text to that of the column, after it is redacted.
        policy = Policy(timedelta(0), error_message_limit=sys.maxsize, statuses=statuses)
        row = RunRow("", notice.workflow_id, notice.first_run_id, created_at=None)
        return decide(row, observation, policy, datetime.now(UTC))

    async def _has_ended_the_run(self, notice: EndNotice) -> bool:
        """Whether the run ended in the workflow task that the notice is of.

        Another worker may have got the task again, with a signal that changed the result.
        """
        event = await self._rpc.close_event(notice.workflow_id, notice.run_id)
        completed = event.workflow_execution_completed_event_attributes
        return completed.workflow_task_completed_event_id == notice.events + 1

    async def write(self, notice: EndNotice, finish: Finish) -> bool:
        """Finish the row if it is still running; return whether there is a row of the workflow's.

        Raises `ConfigurationError`, `DatabaseUnusable`, `TemporalUnusable`.
        """
        outcome = finish.outcome
        assert outcome.completed_at is not None  # noqa: S101 - Temporal's own close time
        report = EndReport(
            notice.workflow_id,
            outcome.temporal_status,
            notice.first_run_id,
            notice.started_at,
            error_message=outcome.error_message,
            value=outcome.status,
        )
        log = _Named(_log, {"workflow_id": notice.workflow_id})
        given = self._rpc.namespace, outcome.completed_at, log
        written = await self._writer().write(report, *given, has_closed=True)
        if written is not None and not written.known and report.start_time is None:
            started = await self._started(notice)
            if started is not None:
                report = replace(report, start_time=started)
                written = await self._writer().write(report, *given, has_closed=True)
        return written is None or written.known > 0

    async def _started(self, notice: EndNotice) -> datetime | None:
        """When the chain started, on which rows without a run id depend; None if it is unknown."""
        try:
            first = await self._rpc.describe(notice.workflow_id, notice.first_run_id)
            return to_datetime(first.workflow_execution_info.start_time, "start time")
        except RowError:
            return None


class _Named(logging.LoggerAdapter[logging.Logger]):
    """Says which workflow a line is about, outside of an activity, which would say it."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, Any]:
        named = one_line(str((self.extra or {})["workflow_id"]), 200).replace("%", "%%")
        return f"{msg} (workflow {named})", kwargs


def _decoder(codec: Codec | None, timeout: float) -> FailureDecoder | None:
    return None if codec is None else FailureDecoder(codec, timeout)


def _is_completed(observation: Observation | None) -> bool:
    return isinstance(observation, Closed) and observation.status is CloseStatus.COMPLETED
