"""`doctor` and `explain`: what is wrong with the setup, or with a row. Neither writes."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reconciler.cli.base import ABORTED, OK, UNRESOLVED, AsJson, as_utf8, cli, load, print_error
from reconciler.console.screen import screen
from reconciler.core.errors import ConfigurationError
from reconciler.host.signals import signals

if TYPE_CHECKING:
    from reconciler.doctor.findings import Examination
    from reconciler.settings.model import Settings

#: By outcome.
_EXIT_CODES = {"ok": OK, "warning": UNRESOLVED, "failure": ABORTED}


@cli.command()
def doctor(
    as_json: AsJson = False,
    try_write: Annotated[
        bool,
        typer.Option(
            "--try-write", help="Also write to one running row, with its triggers, and roll back."
        ),
    ] = False,
) -> int:
    """Check the settings, both servers and the table.

    Changes nothing. Exit code 0: no problem; 3: warnings; 4: a pass would be refused or do harm.
    More: docs/doctor.md
    """
    from reconciler.console.doctor import print_examination
    from reconciler.temporal.config.load import load_config

    settings = load()
    temporal = load_config(settings.temporal_environment(), settings.proxy_url)
    examination = signals.run(partial(_examine, settings, temporal, trying=try_write))
    if as_json:
        print(json.dumps(examination.as_json()))
    else:
        print_examination(examination, screen())
    return _EXIT_CODES[examination.outcome.value]


async def _examine(settings: Settings, temporal: Mapping[str, Any], *, trying: bool) -> Examination:
    from reconciler.doctor.examine import examine

    # A data converter is the team's code; what it prints must not mix with the result.
    with redirect_stdout(sys.stderr):
        return await examine(settings, temporal, trying=trying)


@cli.command()
def explain(
    workflow_id: Annotated[
        str, typer.Argument(metavar="WORKFLOW_ID", help="The workflow id of the row.")
    ],
    as_json: AsJson = False,
) -> int:
    """Show what Temporal says about a row and what a pass would write.

    For a finished row, show which pass finished it. Writes nothing.
    """
    workflow_id = as_utf8("WORKFLOW_ID", workflow_id)
    if not workflow_id:
        raise ConfigurationError(
            "WORKFLOW_ID is empty", "name a workflow; passes leave rows without a workflow id"
        )
    return signals.run(partial(_explain, load(), workflow_id, as_json=as_json))


async def _explain(settings: Settings, workflow_id: str, *, as_json: bool) -> int:
    from reconciler.app.explain import explain, observe_id
    from reconciler.app.overview.words import describe_observation
    from reconciler.app.wiring import open_app
    from reconciler.console.explain import as_object, print_explanations
    from reconciler.core.model import Unknown

    async with open_app(settings, writing=False, ask_archive=True) as app:
        explanations = await explain(app, workflow_id)
        current, condition = None, None
        if not explanations:
            current, condition = await observe_id(app, workflow_id)
    if as_json:
        print(json.dumps(as_object(workflow_id, explanations, current, condition)))
    else:
        print_explanations(explanations, screen())
    if current is not None:
        answer = describe_observation(current, condition)
        print_error(f"{settings.table} has no row of workflow {workflow_id}; Temporal: {answer}")
        return UNRESOLVED
    unknown = any(e.stored.running and isinstance(e.observation, Unknown) for e in explanations)
    return UNRESOLVED if unknown else OK
