"""What has been changed, and how to take it back: `passes`, `changes`, `undo`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from reconciler.cli.base import OK, cli, conclude, load, readable
from reconciler.console.screen import screen
from reconciler.core.errors import ConfigurationError
from reconciler.host.signals import signals

if TYPE_CHECKING:
    from reconciler.settings.model import Settings

#: Lines of a table, unless --limit says otherwise.
PASSES, CHANGES = 20, 50


@cli.command()
def undo(
    pass_id: Annotated[str, typer.Argument(help="The pass; `reconciler passes` lists them.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be put back; write nothing.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of a table.")
    ] = False,
) -> int:
    """Put back what a pass changed, where the row still is as the pass left it.

    It is a pass too: the same command, with its id, takes it back.
    Rows that it sets back to running are finished again by `once` and `run`.
    """
    from reconciler.app import undo as journal
    from reconciler.console.journal import print_undo

    undone = _pass_id(pass_id)
    settings = load()
    report = signals.run(partial(journal.undo, settings, undone, dry_run=dry_run))

    def show() -> None:
        if as_json:
            print(json.dumps(report.as_json(settings.status_values())))
        elif report.scanned or report.error is None:
            print_undo(report, settings.statuses.running, screen())

    return conclude(report, show)


@cli.command()
def passes(
    limit: Annotated[int, typer.Option(min=1, help="Show so many.")] = PASSES,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON object per line instead of a table.")
    ] = False,
) -> int:
    """The passes that may have written something, newest first."""
    signals.run(partial(_passes, load(), limit, as_json=as_json))
    return OK


async def _passes(settings: Settings, limit: int, *, as_json: bool) -> None:
    from reconciler.app.undo import open_journal
    from reconciler.console.journal import PassTable

    table = PassTable(screen(), limit)
    asked = limit if as_json else limit + 1  # to know whether there are more
    async with open_journal(settings) as journal, aclosing(journal.passes(asked)) as pages:
        async for page in pages:
            if as_json:
                _print_json(stored.as_json() for stored in page)
            else:
                table.add(page)
    if not as_json:
        table.end(["passes"])


@cli.command()
def changes(
    pass_id: Annotated[
        str | None, typer.Option("--pass", help="Those of this pass alone.", metavar="ID")
    ] = None,
    workflow_id: Annotated[
        str | None, typer.Option(help="Those of this workflow id alone.")
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help=f"Show so many; {CHANGES} without it, with --json all."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON object per line instead of a table.")
    ] = False,
) -> int:
    """What passes have changed, and on what evidence, newest first."""
    of_pass = None if pass_id is None else _pass_id(pass_id)
    workflow_id = readable("--workflow-id", workflow_id)
    signals.run(partial(_changes, load(), of_pass, workflow_id, limit, as_json=as_json))
    return OK


async def _changes(
    settings: Settings,
    pass_id: UUID | None,
    workflow_id: str | None,
    limit: int | None,
    *,
    as_json: bool,
) -> None:
    from reconciler.app.undo import find_pass, open_journal
    from reconciler.console.journal import ChangeTable

    shown = limit or CHANGES
    table = ChangeTable(screen(), shown)
    async with open_journal(settings) as journal:
        if pass_id is not None:
            await find_pass(journal, pass_id, settings)
        asked = limit if as_json else shown + 1
        async with aclosing(journal.changes(asked, pass_id, workflow_id)) as pages:
            async for page in pages:
                if as_json:
                    _print_json(change.as_json() for change in page)
                else:
                    table.add(page)
    if not as_json:
        of = ["--pass", str(pass_id)] if pass_id else []
        of += ["--workflow-id", workflow_id] if workflow_id is not None else []
        table.end(["changes", *of])


def _print_json(objects: Iterable[Mapping[str, Any]]) -> None:
    for each in objects:
        print(json.dumps(each))


def _pass_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise ConfigurationError(
            f"{text!r} is not the id of a pass, which is a UUID: `reconciler passes` lists them"
        ) from None
