"""Other uses of workflow ids, for rows without a run id whose id's current use has closed.

Visibility lists runs, and does not say to which chain a run belongs. A run that continued as new is
left out: its chain has a later run. What remains is of another use, unless it is of the row's
chain: its first or last run, one that was continued at once (a retry, a cron tick), or one whose
description says so (a reset).

Visibility lags. Only a list that shows the run that closed is evidence: the server writes the
records of one workflow id in order (server 1.32: one shard, one queue).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from temporalio.api.enums.v1 import WorkflowExecutionStatus as Status
from temporalio.api.workflow.v1 import WorkflowExecutionInfo

from reconciler.core.model import Unknown, Use
from reconciler.core.own_use import CLOCK_SKEW
from reconciler.core.ports import Ending
from reconciler.temporal.client.error_codes import RowError
from reconciler.temporal.client.execution_info import is_open, to_datetime
from reconciler.temporal.client.rpc import Rpc
from reconciler.temporal.observe.visibility import MAX_PAGE, in_pieces, is_plain, quoted

#: The next run of a chain starts in the transaction that ends the last (server 1.32: 0.1 ms later).
AT_ONCE = timedelta(milliseconds=10)
#: Runs that are described for one row, to see of which chain they are.
MAX_DESCRIBED = 50

_ENDS_OF_ATTEMPTS = (
    Status.WORKFLOW_EXECUTION_STATUS_COMPLETED,
    Status.WORKFLOW_EXECUTION_STATUS_FAILED,
    Status.WORKFLOW_EXECUTION_STATUS_TIMED_OUT,
)


async def other_uses(rpc: Rpc, endings: Sequence[Ending]) -> list[list[Use] | Unknown]:
    """Other uses of each row's workflow id since the row was created; `Unknown` if not known.

    Raises `TemporalUnusable`.
    """
    created = [each.row.created_at for each in endings if each.row.created_at is not None]
    runs = await _list_runs(rpc, {each.row.workflow_id for each in endings}, min(created))
    return [await _uses_of(rpc, each, runs[each.row.workflow_id]) for each in endings]


@dataclass(frozen=True, slots=True)
class _Run:
    """A run as visibility shows it."""

    id: str
    started_at: datetime
    #: None while it is open.
    closed_at: datetime | None
    #: Whether another run of its chain may have followed at once.
    is_attempt: bool

    @classmethod
    def of(cls, info: WorkflowExecutionInfo) -> _Run:
        """Raises `RowError` for impossible times."""
        closed_at = None if is_open(info) else to_datetime(info.close_time, "close time")
        started_at = to_datetime(info.start_time, "start time")
        return cls(info.execution.run_id, started_at, closed_at, info.status in _ENDS_OF_ATTEMPTS)

    def is_continued_by(self, following: _Run) -> bool:
        """Whether the following run began when this one ended, as in a chain."""
        if not self.is_attempt or self.closed_at is None:
            return False
        return timedelta(0) <= following.started_at - self.closed_at <= AT_ONCE


async def _uses_of(
    rpc: Rpc, ending: Ending, listed: Sequence[WorkflowExecutionInfo] | Unknown
) -> list[Use] | Unknown:
    if isinstance(listed, Unknown):
        return listed
    try:
        runs = [_Run.of(info) for info in listed]
        return await _other_chains(rpc, ending, runs)
    except RowError as error:
        return Unknown(f"visibility: {error}")


async def _other_chains(rpc: Rpc, ending: Ending, runs: Sequence[_Run]) -> list[Use] | Unknown:
    chain, others = ending.chain, list[Use]()
    if not any(run.id == chain.last_run_id for run in runs):
        return Unknown(f"visibility does not show the end of run {chain.last_run_id} yet")
    described, following = 0, None
    for run in sorted(_since(ending, runs), key=lambda run: run.started_at, reverse=True):
        own = run.id in (chain.first_run_id, chain.last_run_id)
        if not own and following and run.started_at >= chain.started_at:
            own = run.is_continued_by(following)
            if not own and described == MAX_DESCRIBED:
                return Unknown(f"more than {MAX_DESCRIBED} runs of its workflow id since it began")
            if not own:
                described += 1
                own = await _first_run(rpc, ending.row.workflow_id, run) == chain.first_run_id
        if own:
            following = run
        else:
            others.append(Use(run.id, run.started_at, run.closed_at))
    return others


def _since(ending: Ending, runs: Sequence[_Run]) -> list[_Run]:
    """The runs that were open when the row was created, or later."""
    created_at = ending.row.created_at
    return [
        run
        for run in runs
        if not (created_at and run.closed_at and run.closed_at < created_at - CLOCK_SKEW)
    ]


async def _first_run(rpc: Rpc, workflow_id: str, run: _Run) -> str:
    described = await rpc.describe(workflow_id, run.id)
    return described.workflow_execution_info.first_run_id


async def _list_runs(
    rpc: Rpc, workflow_ids: Iterable[str], oldest: datetime
) -> Mapping[str, Sequence[WorkflowExecutionInfo] | Unknown]:
    """The runs of each id that were open at that time or later, but those continued as new."""
    since = (oldest - CLOCK_SKEW).isoformat()
    when = (
        "AND ExecutionStatus != 'ContinuedAsNew'"
        f" AND (StartTime >= '{since}' OR CloseTime >= '{since}')"
    )
    found: dict[str, Sequence[WorkflowExecutionInfo] | Unknown] = {}
    plain = {each for each in workflow_ids if is_plain(each)}
    pieces = [*in_pieces(plain), *([each] for each in workflow_ids if each not in plain)]
    while pieces:
        piece = pieces.pop()
        listed = ", ".join(map(quoted, piece))
        try:
            listing, is_all = await _list(rpc, f"WorkflowId IN ({listed}) {when}")
        except RowError as error:
            found.update(dict.fromkeys(piece, Unknown(f"visibility: {error}")))
            continue
        if is_all:
            runs = defaultdict[str, list[WorkflowExecutionInfo]](list)
            for run in listing:
                runs[run.execution.workflow_id].append(run)
            found.update((each, runs[each]) for each in piece)
        elif len(piece) > 1:
            middle = len(piece) // 2
            pieces += [piece[:middle], piece[middle:]]
        else:
            found[piece[0]] = Unknown(f"visibility lists more than {MAX_PAGE} runs of its id")
    return found


async def _list(rpc: Rpc, query: str) -> tuple[Sequence[WorkflowExecutionInfo], bool]:
    """The runs that visibility finds, and whether these are all.

    A token need not mean that there are more: server 1.32 on Elasticsearch gives one with every
    page that has results.
    """
    page = await rpc.list(query, MAX_PAGE)
    if not page.next_page_token or len(page.executions) >= MAX_PAGE:
        return page.executions, not page.next_page_token
    rest = await rpc.list(query, MAX_PAGE, page.next_page_token)
    return [*page.executions, *rest.executions], not rest.next_page_token
