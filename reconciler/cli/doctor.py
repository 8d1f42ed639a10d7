"""`doctor`: whether a pass would work, and what will hurt later."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reconciler.cli.base import ABORTED, OK, UNRESOLVED, cli, load
from reconciler.console.screen import screen
from reconciler.host.signals import signals

if TYPE_CHECKING:
    from reconciler.doctor.findings import Examination
    from reconciler.settings.model import Settings

#: By outcome.
_EXIT_CODES = {"ok": OK, "warning": UNRESOLVED, "failure": ABORTED}


@cli.command()
def doctor(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of lines.")
    ] = False,
) -> int:
    """Check settings, both servers, the table and all that a pass relies on. Writes nothing.

    Exit code 0: all is well; 3: there are warnings; 4: a pass would be refused, or do harm.
    """
    from reconciler.console.doctor import print_examination
    from reconciler.settings.load import temporal_environment
    from reconciler.temporal.config.load import load_config

    settings = load()
    temporal = load_config(temporal_environment(), settings.proxy_url)
    examination = signals.run(partial(_examine, settings, temporal))
    if as_json:
        print(json.dumps(examination.as_json()))
    else:
        print_examination(examination, screen())
    return _EXIT_CODES[examination.outcome.value]


async def _examine(settings: Settings, temporal: Mapping[str, Any]) -> Examination:
    from reconciler.doctor.examine import examine

    # A data converter is the team's code, and may print what is none of our output.
    with redirect_stdout(sys.stderr):
        return await examine(settings, temporal)
