"""Screen rows by visibility: the index behind ListWorkflowExecutions, which lags and may be wrong.

One list call shows which of many workflows are open; descriptions take a call each. List calls have
their own quota, far smaller than the others (server 1.32: 10 calls a second per namespace).
"""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

import structlog
from temporalio.api.workflow.v1 import WorkflowExecutionInfo

from reconciler.core.errors import TemporalUnusable
from reconciler.core.model import RunRow
from reconciler.host.causes import Causes, in_words
from reconciler.temporal.client.error_codes import Overloaded, RowError
from reconciler.temporal.client.execution_info import is_open
from reconciler.temporal.client.rpc import Rpc

#: Ids in one call. PostgreSQL 15 with 1000 of them reads every open workflow of the namespace
#: instead of the index by id (server 1.32's query: 54 ms instead of 5).
MAX_IDS = 500
#: Results in one call: the server's largest page (server 1.32, `frontend.visibilityMaxPageSize`).
MAX_PAGE = 1000
#: Bytes of ids in one call; gRPC takes 4 MB.
MAX_BYTES = 512 * 1024
#: Seconds that a call takes at least, whatever the limits (server 1.32: 1.1 ms and more).
CALL_SECONDS = 0.001
#: Seconds to wait for a store that does not answer, once per pass and namespace, in addition to the
#: time that it takes to describe a page.
PATIENCE = 5.0
#: Calls that may already be waiting for the rate limit.
QUEUE = 64
#: Chains whose current run is remembered.
MAX_CURRENT = 50_000
# Stores differ about quotes and backslashes (server 1.32: SQLite takes a backslash literally), and
# control characters are lost. Rows with such ids are simply described.
_PLAIN = re.compile(r"[^'\"\\\x00-\x1f\x7f]{1,1000}")
# By exclusion: older servers refuse the name of a newer status.
_OPEN = (
    "ExecutionStatus NOT IN"
    " ('Completed', 'Failed', 'Canceled', 'Terminated', 'TimedOut', 'ContinuedAsNew')"
)

log = structlog.get_logger(__name__)


class Visibility:
    """Lists which rows' workflows are open, and remembers the current runs of their chains."""

    def __init__(self) -> None:
        # The current run id of continued chains, by their first: a list has the one, a row the
        # other. Chains not seen for a whole pass are forgotten.
        self._current: dict[str, str] = {}
        self._current_before: Mapping[str, str] = {}
        self._refused: set[str] = set()
        self._causes = Causes()

    def start_pass(self) -> None:
        """Ask again where the last pass was refused, and log what it did not log one by one."""
        self._current, self._current_before = {}, self._current
        self._refused.clear()
        if beyond := self._causes.end_round():
            log.warning(
                "more_visibility_unavailable",
                namespaces=sum(beyond.values()),
                why=in_words(beyond),
            )

    def remember_open(self, row: RunRow, info: WorkflowExecutionInfo) -> None:
        """Remember the row's chain, whose description shows this run as open."""
        if row.run_id and row.run_id != info.execution.run_id:
            self._remember(row.run_id, info.execution.run_id)

    def worth_asking(
        self, rpc: Rpc, by_namespace: Mapping[str, Sequence[RunRow]], saving: float
    ) -> list[str]:
        """The namespaces in which lists take no longer than the descriptions that they save.

        `saving`: the expected share of rows that need no description. Each namespace needs its own
        lists, and each list waits for its slot in the limit of list calls.
        """
        names: list[str] = []
        asked, waited = 0, 0.0
        for name, rows in sorted(by_namespace.items(), key=lambda each: -len(each[1])):
            plain = [row.workflow_id for row in rows if is_plain(row.workflow_id)]
            lists = sum(1 for _ in in_pieces(set(plain)))
            call = max(1 / rpc.rate, CALL_SECONDS)
            wait = rpc.list_wait + (asked + lists - 1) / rpc.list_rate
            if plain and max(wait - waited, lists * call) <= len(plain) * saving * call:
                names, asked, waited = [*names, name], asked + lists, wait
        return names

    async def screen(
        self, rpc: Rpc, rows: Sequence[RunRow], page_size: int = MAX_IDS
    ) -> list[bool | None]:
        """Whether each row's workflow is open; None if that is unknown.

        `page_size`: the number of rows screened together, in all namespaces. A namespace that
        refuses, or takes longer than describing a page would, is not asked again in this pass.
        Raises `Overloaded`.
        """
        unknown: list[bool | None] = [None] * len(rows)
        if rpc.namespace in self._refused:
            return unknown
        ids = {row.workflow_id for row in rows if is_plain(row.workflow_id)}
        patience = PATIENCE + (page_size + QUEUE) / rpc.rate
        try:
            async with asyncio.timeout(patience):
                found, absent = await _open_runs(rpc, ids)
        except TimeoutError:
            self._record_refusal(rpc.namespace, f"no answer within {patience:.0f} s")
            return unknown
        except Overloaded:
            raise
        except (RowError, TemporalUnusable) as error:
            self._record_refusal(rpc.namespace, str(error))
            return unknown
        return [
            False
            if row.workflow_id in absent
            else any(self._is_own(row, run) for run in found[row.workflow_id]) or None
            for row in rows
        ]

    def _is_own(self, row: RunRow, run: WorkflowExecutionInfo) -> bool:
        """Whether this open run of its workflow id belongs to the row's chain."""
        run_id = run.execution.run_id
        if row.run_id == run_id:
            return True
        if row.run_id:
            current = self._current.get(row.run_id) or self._current_before.get(row.run_id)
            if current == run_id:
                self._remember(row.run_id, run_id)
            return current == run_id
        # Without a run id, the row is left as long as its workflow id is in use.
        return row.created_at is not None

    def _remember(self, first_run_id: str, run_id: str) -> None:
        if len(self._current) < MAX_CURRENT or first_run_id in self._current:
            self._current[first_run_id] = run_id

    def _record_refusal(self, namespace: str, why: str) -> None:
        self._refused.add(namespace)
        level = log.warning if self._causes.is_news(why, namespace) else log.debug
        level("visibility_unavailable", why=why, namespace=namespace, hint="every row is described")


async def _open_runs(
    rpc: Rpc, ids: Iterable[str]
) -> tuple[Mapping[str, Sequence[WorkflowExecutionInfo]], set[str]]:
    """The open runs by workflow id, and the ids that have none."""
    found: defaultdict[str, list[WorkflowExecutionInfo]] = defaultdict(list)
    absent: set[str] = set()
    for some in in_pieces(ids):
        ids_listed = ", ".join(map(quoted, some))
        answer = await rpc.list(f"WorkflowId IN ({ids_listed}) AND {_OPEN}", MAX_PAGE)
        for run in answer.executions:
            if is_open(run):
                found[run.execution.workflow_id].append(run)
        if not answer.next_page_token:
            absent.update(each for each in some if each not in found)
    return found, absent


def in_pieces(ids: Iterable[str]) -> Iterator[list[str]]:
    """Pieces that fit into one call each, by number and by bytes."""
    piece: list[str] = []
    size = 0
    for each in ids:
        length = len(each.encode()) + len("'', ")
        if piece and (len(piece) == MAX_IDS or size + length > MAX_BYTES):
            yield piece
            piece, size = [], 0
        piece.append(each)
        size += length
    if piece:
        yield piece


def quoted(workflow_id: str) -> str:
    """The id as a literal of a query."""
    escaped = workflow_id.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def is_plain(workflow_id: str) -> bool:
    """Whether all stores read the id's literal alike."""
    return _PLAIN.fullmatch(workflow_id) is not None
