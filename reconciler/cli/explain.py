"""`explain`: what Temporal says about the rows of a workflow id. Writes nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli.base import (
    OK,
    UNRESOLVED,
    AsJson,
    Target,
    as_utf8,
    cli,
    load_each,
    print_error,
)
from reconciler.cli.each_target import Each, about, print_title, worst
from reconciler.console.screen import screen
from reconciler.core.errors import ConfigurationError
from reconciler.host.signals import signals

if TYPE_CHECKING:
    from reconciler.settings.model import Settings


@cli.command()
def explain(
    workflow_id: Annotated[
        str, typer.Argument(metavar="WORKFLOW_ID", help="The workflow id of the row.")
    ],
    as_json: AsJson = False,
    target: Target = None,
) -> int:
    """Show what Temporal says about a row and what a pass would write.

    For a finished row, show which pass finished it. Writes nothing.
    """
    workflow_id = as_utf8("WORKFLOW_ID", workflow_id)
    if not workflow_id:
        raise ConfigurationError(
            "WORKFLOW_ID is empty", "name a workflow; passes leave rows without a workflow id"
        )
    found = _Found(workflow_id)
    each = Each(
        targets=load_each(target),
        named=target,
        as_json=as_json,
        headings=False,
        total=found.exit_code,
    )
    code = each.run(lambda settings: signals.run(partial(_explain, settings, found, each)))
    found.print_absent()
    return code


@dataclass(slots=True)
class _Found:
    """Which targets have rows of a workflow id; only if none has, it matters which have none."""

    workflow_id: str
    #: Those with rows.
    targets: list[Settings] = field(default_factory=list)
    #: The others: the name if there are several, and what there is to say.
    absent: list[tuple[str, str]] = field(default_factory=list)

    def exit_code(self, codes: Sequence[int]) -> int:
        """The exit code of the command, from those of the targets."""
        return worst([*codes, *([] if self.targets else [UNRESOLVED])])

    def print_absent(self) -> None:
        """Say that there is no row, where no target has one."""
        for target, line in [] if self.targets else self.absent:
            with about(target):
                print_error(line)


async def _explain(settings: Settings, found: _Found, each: Each) -> int:
    from reconciler.app.explain import explain, observe_id
    from reconciler.app.overview.words import describe_observation
    from reconciler.app.wiring import open_app
    from reconciler.console.explain import as_object, print_explanations
    from reconciler.core.model import Unknown

    async with open_app(settings, writing=False, ask_archive=True) as app:
        explanations = await explain(app, found.workflow_id)
        current, condition = None, None
        if not explanations:
            current, condition = await observe_id(app, found.workflow_id)
    if each.as_json:
        print(json.dumps(as_object(found.workflow_id, explanations, current, condition)))
    if current is not None:
        answer = describe_observation(current, condition)
        line = f"{settings.table} has no row of workflow {found.workflow_id}; Temporal: {answer}"
        found.absent.append((settings.target if each.are_several else "", line))
        return OK
    found.targets.append(settings)
    if not each.as_json:
        if each.are_several:
            print_title(settings.target, first=True)  # each block of rows ends with an empty line
        print_explanations(explanations, screen())
    unknown = any(e.stored.running and isinstance(e.observation, Unknown) for e in explanations)
    return UNRESOLVED if unknown else OK
