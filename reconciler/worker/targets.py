"""Which target the rows of a workflow type are in, as the plugin's arguments and decorators say."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from temporalio import workflow

from reconciler.core.errors import ConfigurationError
from reconciler.worker.after_close.choice import check_types, check_used
from reconciler.worker.decorator import check_target, is_decorated, own_target
from reconciler.worker.report import ONLY

#: In place of the type of a dynamic workflow.
DYNAMIC = "a dynamic workflow"


@dataclass(frozen=True, slots=True)
class TargetChoice:
    """The target of each workflow type."""

    #: Of types that nothing else gives a target; None: they do not report.
    default: str | None = ONLY
    types: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, given: Any, *, only: frozenset[str] | None, skip: frozenset[str]) -> TargetChoice:
        """From the plugin's arguments. Raises `TypeError`, `ConfigurationError`."""
        if given is None:
            return cls()
        if isinstance(given, str):
            check_target(given, "targets")
            return cls(given)
        if not isinstance(given, Mapping) or not all(map(_are_names, given.items())):
            raise TypeError(
                "targets= takes the name of a target, or a mapping of workflow types by name to "
                "names of targets"
            )
        if not given:
            raise ConfigurationError("targets= is empty", "name workflow types, or remove it")
        check_used("targets", frozenset(given), only=only, skip=skip)
        return cls(None, dict(given))

    @property
    def named(self) -> Sequence[str]:
        """The targets that the plugin names."""
        return [*dict.fromkeys([*self.types.values(), *([self.default] if self.default else [])])]

    def of_type(self, workflow_type: str | None, own: str | None) -> str | None:
        """The target of a type; `own`: what its decorator names. None: it does not report."""
        return self.types.get(workflow_type or "") or own or self.default

    def check(self, workflows: Sequence[type]) -> None:
        """Raise `ConfigurationError` if a worker with these workflows has not all of the types."""
        check_types("targets", frozenset(self.types), workflows)

    def in_use(
        self,
        workflows: Sequence[type],
        selects: Callable[[str | None], bool],
        chosen: Collection[str],
    ) -> Mapping[str, Sequence[str]]:
        """The workflow types of a worker that report, by their target.

        `selects`: whether the plugin reports a type, apart from its target; None: whether it may
        report a dynamic workflow, which is of any type. `chosen`: types that other options name.
        Raises `ConfigurationError` if one of them has no target.
        """
        found: dict[str, list[str]] = {}
        for each in workflows:
            definition = workflow._Definition.must_from_class(each)  # noqa: SLF001 - as the SDK does
            name, by_hand = definition.name, is_decorated(definition.run_fn)
            target = self.of_type(name, own_target(definition.run_fn))
            if target is None and by_hand:
                target = ONLY
            if target is None and name in chosen:
                raise ConfigurationError(
                    f"targets= does not name {name}, which only= or after_close= does",
                    "name it, or remove it from there",
                )
            if target is not None and (by_hand or selects(name)):
                found.setdefault(target, []).append(name or DYNAMIC)
            if name is None:
                for other, named in self.types.items():
                    found.setdefault(named, []).append(other)
        return found


def _are_names(pair: tuple[object, object]) -> bool:
    return all(each and isinstance(each, str) for each in pair)
