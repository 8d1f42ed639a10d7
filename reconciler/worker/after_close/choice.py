"""Which workflow types report after their close, as the plugin's arguments say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from temporalio import workflow

from reconciler.core.errors import ConfigurationError

ACTIVITY, AFTER_CLOSE = WAYS = ("activity", "after_close")


@dataclass(frozen=True, slots=True)
class Choice:
    """The workflow types that report after their close; the others do it by an activity."""

    every: bool = False
    types: frozenset[str] = frozenset()

    @classmethod
    def of(
        cls,
        report: str,
        types: frozenset[str],
        *,
        only: frozenset[str] | None,
        skip: frozenset[str],
        task_queue: str | None,
    ) -> Choice:
        """From the plugin's arguments. Raises `ConfigurationError` if they make no sense."""
        if report not in WAYS:
            raise ConfigurationError(
                f"report= is {report!r}", f"pass {' or '.join(map(repr, WAYS))}"
            )
        check_used("after_close", types, only=only, skip=skip)
        every = report == AFTER_CLOSE
        if every and task_queue is not None:
            raise ConfigurationError(
                "task_queue= is for reports by an activity, and report='after_close' has none",
                "remove task_queue=",
            )
        return cls(every, types)

    def __bool__(self) -> bool:
        """Whether any workflow may report this way."""
        return self.every or bool(self.types)

    def __contains__(self, workflow_type: str) -> bool:
        return self.every or workflow_type in self.types

    def check(self, workflows: Sequence[type]) -> None:
        """Raise `ConfigurationError` if a worker with these workflows has not all of the types."""
        check_types("after_close", self.types, workflows)


def check_used(
    option: str, types: frozenset[str], *, only: frozenset[str] | None, skip: frozenset[str]
) -> None:
    """Raise `ConfigurationError` if an option names types that other options leave out."""
    if both := types & skip:
        raise ConfigurationError(
            f"skip= and {option}= both name {listed(both)}", "remove it from one of them"
        )
    if only and (left_out := types - only):
        raise ConfigurationError(
            f"{option}= names {listed(left_out)}, which only= leaves out",
            f"add it to only=, or remove it from {option}=",
        )


def check_types(option: str, types: frozenset[str], workflows: Sequence[type]) -> None:
    """Raise `ConfigurationError` if an option names types that none of these workflows has.

    A worker with a dynamic workflow has every type, and one without workflows needs none.
    """
    defined = [workflow._Definition.must_from_class(each).name for each in workflows]  # noqa: SLF001 - as the SDK does
    if not defined or None in defined or not (absent := types.difference(defined)):
        return
    raise ConfigurationError(
        f"{option}= names {listed(absent)}, which this worker does not have",
        f"name some of its workflow types: {listed(filter(None, defined))}",
    )


def names(option: str, types: object) -> frozenset[str]:
    """The workflow types that an argument names. Raises `TypeError`."""
    found: list[Any] = [*types] if isinstance(types, Iterable) else [types]
    if isinstance(types, str) or not all(isinstance(each, str) for each in found):
        raise TypeError(f"{option}= takes a collection of workflow types by name")
    return frozenset(found)


def listed(types: Iterable[str]) -> str:
    """Workflow types in an error."""
    return ", ".join(sorted(types))
