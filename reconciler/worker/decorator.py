"""Reporting by hand, for one workflow."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any, ParamSpec, TypeVar, overload

from temporalio.converter import DefaultFailureConverter, FailureConverter

from reconciler.worker.report import Reporting, run_and_report

_P = ParamSpec("_P")
_T = TypeVar("_T")

_MARK = "__reconciler_reports_itself__"


@overload
def report_outcome(run: Callable[_P, Awaitable[_T]], /) -> Callable[_P, Awaitable[_T]]: ...
@overload
def report_outcome(
    *, failure_converter: type[FailureConverter] = ..., task_queue: str | None = ...
) -> Callable[[Callable[_P, Awaitable[_T]]], Callable[_P, Awaitable[_T]]]: ...


def report_outcome(
    run: Callable[..., Awaitable[Any]] | None = None,
    /,
    *,
    failure_converter: type[FailureConverter] = DefaultFailureConverter,
    task_queue: str | None = None,
) -> Any:
    """Let one workflow report its end, on a worker without the plugin.

        @workflow.run
        @report_outcome
        async def run(self, order: Order) -> Receipt: ...

    The worker needs the activity: `status_activity()`. A decorator and not a context manager,
    because what has been returned must be seen: a result that cannot be serialised is not an end.

    `failure_converter` must be the one of the worker's data converter, where it has one of its
    own; the plugin finds it by itself. `task_queue` is where the activity runs, if elsewhere.
    """
    reporting = Reporting(failure_converter=failure_converter, task_queue=task_queue)

    def decorate(run: Callable[_P, Awaitable[_T]]) -> Callable[_P, Awaitable[_T]]:
        @functools.wraps(run)
        async def reported(*args: _P.args, **kwargs: _P.kwargs) -> _T:
            return await run_and_report(run(*args, **kwargs), reporting)

        setattr(reported, _MARK, True)
        return reported

    return decorate if run is None else decorate(run)


def reports_itself(run: Callable[..., Any]) -> bool:
    """Whether a workflow's function is decorated, so that the plugin leaves it alone."""
    return getattr(run, _MARK, False)
