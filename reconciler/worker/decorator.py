"""Reporting by hand, for one workflow."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Awaitable, Callable
from typing import Any, ParamSpec, TypeVar, overload

from temporalio.converter import DefaultFailureConverter, FailureConverter

from reconciler.worker.report import ONLY
from reconciler.worker.reporter import Reporter, StatusOf, check_status_of

_P = ParamSpec("_P")
_T = TypeVar("_T")

_DECORATED = "__reconciler_reports_itself__"
_STATUS_OF = "__reconciler_status_of__"
_TARGET = "__reconciler_target__"
_LEFT_TO_PLUGIN = "__reconciler_left_to_plugin__"
_TARGET_OF_PLUGIN = "__reconciler_target_of_plugin__"


@overload
def report_outcome(run: Callable[_P, Awaitable[_T]], /) -> Callable[_P, Awaitable[_T]]: ...
@overload
def report_outcome(
    *,
    failure_converter: type[FailureConverter] = ...,
    task_queue: str | None = ...,
    status_of: StatusOf | None = ...,
    target: str | None = ...,
) -> Callable[[Callable[_P, Awaitable[_T]]], Callable[_P, Awaitable[_T]]]: ...


def report_outcome(
    run: Callable[..., Awaitable[Any]] | None = None,
    /,
    *,
    failure_converter: type[FailureConverter] = DefaultFailureConverter,
    task_queue: str | None = None,
    status_of: StatusOf | None = None,
    target: str | None = None,
) -> Any:
    """Make one workflow report its end, on a worker without the plugin.

        with workflow.unsafe.imports_passed_through():
            from reconciler.worker import report_outcome

        @workflow.run
        @report_outcome
        async def run(self, order: Order) -> Receipt: ...

    The worker needs the activity: `status_activity()`. This is a decorator and not a context
    manager because it has to see the result: one that cannot be serialised does not end the
    workflow. If the plugin reports the workflow, the decorator does nothing.

    `failure_converter`: that of the worker's data converter, if it is not the default; the plugin
    finds it by itself. `task_queue`: where the activity runs, if not on the workflow's own queue.
    `status_of`: returns the status for the workflow's result, see `ReconcilerPlugin`; the plugin
    uses it too. `target`: which of several targets the row is in; for the plugin as well, unless
    its `targets=` names the workflow type.
    """
    check_status_of(status_of)
    if target is not None:
        check_target(target, "target")

    def decorate(run: Callable[_P, Awaitable[_T]]) -> Callable[_P, Awaitable[_T]]:
        @functools.wraps(run)
        async def reported(*args: _P.args, **kwargs: _P.kwargs) -> _T:
            instance = args[0]
            if hasattr(instance, _LEFT_TO_PLUGIN) or not _is_run_of(instance, reported):
                return await run(*args, **kwargs)
            reporter = Reporter(
                failure_converter=failure_converter,
                task_queue=task_queue,
                status_of=status_of,
                target=getattr(instance, _TARGET_OF_PLUGIN, target or ONLY),
            )
            return await reporter.run(run(*args, **kwargs))

        setattr(reported, _DECORATED, True)
        setattr(reported, _STATUS_OF, status_of)
        setattr(reported, _TARGET, target)
        return reported

    return decorate if run is None else decorate(run)


def is_decorated(run: Callable[..., Any]) -> bool:
    """Whether a workflow's function reports by itself."""
    return hasattr(run, _DECORATED)


def own_status_of(run: Callable[..., Any]) -> StatusOf | None:
    """What the decorator of a workflow's function says about its results."""
    found: StatusOf | None = getattr(run, _STATUS_OF, None)
    return found


def own_target(run: Callable[..., Any]) -> str | None:
    """The target that the decorator of a workflow's function names."""
    found: str | None = getattr(run, _TARGET, None)
    return found


def check_target(name: object, option: str) -> None:
    """Raise `TypeError` if this cannot be the name of a target."""
    if not (name and isinstance(name, str)):
        raise TypeError(f"{option}= takes the name of a target, not {name!r}")


def give_target(instance: object, target: str | None) -> None:
    """Let this run of the workflow, which reports by its decorator, use the plugin's target."""
    if target is not None:
        with contextlib.suppress(AttributeError):  # the class has only `__slots__`
            setattr(instance, _TARGET_OF_PLUGIN, target)


def leave_to_plugin(instance: object) -> bool:
    """Turn the decorator off for this run of the workflow: the plugin reports it.

    Returns whether that was possible; it is not if the class has only `__slots__`.
    """
    try:
        setattr(instance, _LEFT_TO_PLUGIN, True)
    except AttributeError:
        return False
    return True


def _is_run_of(instance: object, reported: Callable[..., Any]) -> bool:
    """Whether `reported` is the workflow's own function, or wrapped by it.

    If not, a subclass has called it with `super()`, and its return is not the end.
    """
    function = getattr(type(instance), reported.__name__, None)
    while function is not None and function is not reported:
        function = getattr(function, "__wrapped__", None)
    return function is not None
