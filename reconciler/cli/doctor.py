"""`doctor`: what is wrong with the setup."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reconciler.cli.base import ABORTED, OK, UNRESOLVED, AsJson, Target, cli, load_each
from reconciler.cli.each_target import Each, print_title
from reconciler.console.screen import screen
from reconciler.host.signals import signals

if TYPE_CHECKING:
    from reconciler.doctor.findings import Examination
    from reconciler.settings.model import Settings

#: By outcome, and back.
_EXIT_CODES = {"ok": OK, "warning": UNRESOLVED, "failure": ABORTED}
_OUTCOMES = {code: outcome for outcome, code in _EXIT_CODES.items()}


@cli.command()
def doctor(
    as_json: AsJson = False,
    try_write: Annotated[
        bool,
        typer.Option(
            "--try-write", help="Also write to one running row, with its triggers, and roll back."
        ),
    ] = False,
    target: Target = None,
) -> int:
    """Check the settings, both servers and the table.

    Changes nothing. Exit code 0: no problem; 3: warnings; 4: a pass would be refused or do harm.
    More: docs/doctor.md
    """
    targets = load_each(target)
    each = Each(targets=targets, named=target, as_json=as_json, outcomes=_OUTCOMES)
    examining = partial(_examine_one, as_json=as_json, trying=try_write)
    return each.run(examining, partial(_compare, targets, as_json=as_json))


def _examine_one(settings: Settings, *, as_json: bool, trying: bool) -> int:
    from reconciler.console.doctor import print_examination
    from reconciler.temporal.config.load import load_config

    temporal = load_config(settings.temporal_environment(), settings.proxy_url)
    examination = signals.run(partial(_examine, settings, temporal, trying=trying))
    if as_json:
        print(json.dumps(examination.as_json()))
    else:
        print_examination(examination, screen())
    return _EXIT_CODES[examination.outcome.value]


def _compare(targets: Sequence[Settings], *, as_json: bool) -> tuple[int, Mapping[str, Any]]:
    """Print what is wrong between the targets; returns the exit code, and what JSON has of it."""
    from reconciler.console.doctor import print_examination
    from reconciler.doctor.across import compare
    from reconciler.doctor.findings import Examination

    found = Examination([], signals.run(partial(compare, targets)))
    if not as_json:
        print_title("all targets", first=False)
        print_examination(found, screen())
    return _EXIT_CODES[found.outcome.value], {
        "findings": [finding.as_json() for finding in found.findings]
    }


async def _examine(settings: Settings, temporal: Mapping[str, Any], *, trying: bool) -> Examination:
    from reconciler.doctor.examine import examine

    # A data converter is the team's code; what it prints must not mix with the result.
    with redirect_stdout(sys.stderr):
        return await examine(settings, temporal, trying=trying)
