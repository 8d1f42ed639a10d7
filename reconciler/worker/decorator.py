"""Reporting by hand, for one workflow."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any, ParamSpec, TypeVar, overload

from temporalio.converter import DefaultFailureConverter, FailureConverter

from reconciler.worker.report import Report, run_and_report

_P = ParamSpec("_P")
_T = TypeVar("_T")

_DECORATED = "__reconciler_reports_itself__"
_LEFT_TO_PLUGIN = "__reconciler_left_to_plugin__"


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

        with workflow.unsafe.imports_passed_through():
            from reconciler.worker import report_outcome

        @workflow.run
        @report_outcome
        async def run(self, order: Order) -> Receipt: ...

    The worker needs the activity: `status_activity()`. A decorator and not a context manager,
    because what has been returned must be seen: a result that cannot be serialised is not an end.
    Where the plugin reports a workflow, this leaves it to the plugin.

    `failure_converter` must be the one of the worker's data converter, where it has one of its
    own; the plugin finds it by itself. `task_queue` is where the activity runs, if elsewhere.
    """

    def decorate(run: Callable[_P, Awaitable[_T]]) -> Callable[_P, Awaitable[_T]]:
        @functools.wraps(run)
        async def reported(*args: _P.args, **kwargs: _P.kwargs) -> _T:
            instance = args[0]
            if hasattr(instance, _LEFT_TO_PLUGIN) or not _is_run_of(instance, reported):
                return await run(*args, **kwargs)
            report = Report(failure_converter=failure_converter, task_queue=task_queue)
            return await run_and_report(run(*args, **kwargs), report)

        setattr(reported, _DECORATED, True)
        return reported

    return decorate if run is None else decorate(run)


def reports_itself(run: Callable[..., Any]) -> bool:
    """Whether a workflow's function is decorated."""
    return hasattr(run, _DECORATED)


def leave_to_plugin(instance: object) -> None:
    """Tell the decorator that the plugin reports this run of the workflow."""
    setattr(instance, _LEFT_TO_PLUGIN, True)


def _is_run_of(instance: object, reported: Callable[..., Any]) -> bool:
    """Whether `reported` is the workflow's own function, or what that one wraps.

    If not, a subclass has called it by `super()`, and its return is not the end.
    """
    function = getattr(type(instance), reported.__name__, None)
    while function is not None and function is not reported:
        function = getattr(function, "__wrapped__", None)
    return function is not None
