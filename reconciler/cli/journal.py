"""What passes have changed, and how to revert it: `passes`, `changes`, `undo`."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from string import hexdigits
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reconciler.cli.base import (
    OK,
    AsJson,
    DryRun,
    JsonLines,
    Target,
    as_utf8,
    can_ask,
    cli,
    conclude,
    confirm,
    load_each,
    print_error,
    print_to_stderr,
)
from reconciler.cli.each_target import Each, labelled, of_target
from reconciler.cli.find_pass import DIGITS, find_last, find_owner
from reconciler.console.screen import screen
from reconciler.core.errors import ConfigurationError
from reconciler.core.model import Mode
from reconciler.host.signals import signals

if TYPE_CHECKING:
    from uuid import UUID

    from reconciler.console.journal import Listing
    from reconciler.settings.model import Settings

#: The default limits of the tables.
PASSES, CHANGES = 20, 50
#: The help of an option that may be repeated.
MODES = f"Only passes of this mode: {', '.join(Mode)}. May be given several times."


@cli.command(
    epilog="""\b
Examples:
  reconciler undo 6a24dc3d --dry-run   what would be put back
  reconciler undo 6a24dc3d
  reconciler undo --last               show the last pass, and ask"""
)
def undo(
    pass_id: Annotated[
        str | None,
        typer.Argument(metavar="PASS", help="The id of a pass, or its beginning; see `passes`."),
    ] = None,
    last: Annotated[
        bool, typer.Option("--last", help="The last pass that wrote something; asks first.")
    ] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    target: Target = None,
) -> int:
    """Put back what a pass changed.

    Changes only rows that are still as the pass left them, and reports the others. An undo is a
    pass too: `undo` of its id reverts it. Rows that are running again will be finished again by
    `once` and `run`.
    """
    if (pass_id is None) != last:
        raise ConfigurationError("name one pass, or --last; see reconciler undo --help")
    if last and not dry_run and not can_ask():
        raise ConfigurationError(
            "--last asks, which needs a terminal", "name a pass of `reconciler passes`"
        )
    prefix = "" if pass_id is None else _pass_prefix(pass_id)
    each = Each(targets=load_each(target), named=target, as_json=as_json)
    if last:
        each, prefix = _last(each, asks=not dry_run)
    elif each.are_several:
        owner, found = find_owner(each.targets, prefix)
        each, prefix = replace(each, targets=[owner]), str(found)
    if not prefix:
        print_error("nothing was written")
        return OK
    return each.run(partial(_undo, prefix, dry_run=dry_run, as_json=as_json))


def _last(each: Each, *, asks: bool) -> tuple[Each, str]:
    """Show the last pass and ask; its id is empty if the answer is no."""
    from reconciler.app.undo import find_last as find_last_of
    from reconciler.console.journal import summary

    about = ""
    if each.are_several:
        owner, found, rows = find_last(each.targets)
        each, about = replace(each, targets=[owner]), f"{owner.target}: "
    else:
        found, rows = signals.run(partial(find_last_of, each.targets[0]))
    print_to_stderr(about + summary(found, rows))
    return each, "" if asks and not confirm("Undo this pass?") else str(found.id)


def _undo(prefix: str, settings: Settings, *, dry_run: bool, as_json: bool) -> int:
    from reconciler.app.undo import undo as undo_pass
    from reconciler.console.journal import print_undo

    report = signals.run(partial(undo_pass, settings, prefix, dry_run=dry_run))

    def show() -> None:
        if report.scanned or report.error is None:
            print_undo(report, settings.status_values(), screen())

    return conclude(report, settings, show, as_json=as_json)


@cli.command(
    epilog="""\b
Examples:
  reconciler passes
  reconciler passes --mode run --mode once   without those of the closings feed"""
)
def passes(
    pass_id: Annotated[
        str, typer.Argument(metavar="PASS", help="Only passes whose id begins with this.")
    ] = "",
    mode: Annotated[list[Mode] | None, typer.Option(metavar="MODE", help=MODES)] = None,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="Show at most N.")] = PASSES,
    as_json: JsonLines = False,
    target: Target = None,
) -> int:
    """List the passes that may have written something.

    Newest first. A pass that changed nothing is kept for seven days.
    """
    prefix = _pass_prefix(pass_id) if pass_id else ""
    each = Each(targets=load_each(target), named=target, headings=not as_json)
    listing = partial(_passes, prefix, mode or [], limit, as_json=as_json)
    return each.run(lambda settings: signals.run(partial(listing, settings)))


async def _passes(
    prefix: str, modes: Sequence[Mode], limit: int, settings: Settings, *, as_json: bool
) -> int:
    from reconciler.app.undo import open_journal
    from reconciler.console.journal import PassTable

    table = PassTable(screen(), limit)
    command = ["passes", *filter(None, [prefix]), *of_target(settings)]
    for each in modes:
        command += ["--mode", each.value]
    async with open_journal(settings) as journal:
        pages = journal.passes(limit if as_json else limit + 1, prefix, modes)
        await _show(pages, table, command, as_json=as_json)
    return OK


@cli.command()
def changes(
    pass_id: Annotated[
        str | None,
        typer.Option(
            "--pass", metavar="PASS", help="Only changes of this pass: its id, or its beginning."
        ),
    ] = None,
    workflow_id: Annotated[
        str | None, typer.Option(metavar="ID", help="Only changes of this workflow id.")
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help=f"Show at most N; default {CHANGES}, with --json all."
        ),
    ] = None,
    as_json: JsonLines = False,
    target: Target = None,
) -> int:
    """List what passes have changed, and on what evidence.

    Newest first, one line per row and change.
    """
    of_pass: str | UUID | None = None if pass_id is None else _pass_prefix(pass_id)
    workflow_id = as_utf8("--workflow-id", workflow_id)
    each = Each(targets=load_each(target), named=target, headings=not as_json)
    if isinstance(of_pass, str) and each.are_several:
        owner, of_pass = find_owner(each.targets, of_pass)
        each = replace(each, targets=[owner])
    listing = partial(_changes, of_pass, workflow_id, limit, as_json=as_json)
    return each.run(lambda settings: signals.run(partial(listing, settings)))


async def _changes(
    of_pass: str | UUID | None,
    workflow_id: str | None,
    limit: int | None,
    settings: Settings,
    *,
    as_json: bool,
) -> int:
    from reconciler.app.undo import find_pass, open_journal
    from reconciler.console.journal import ChangeTable

    shown = limit or CHANGES
    command = ["changes", *of_target(settings)]
    async with open_journal(settings) as journal:
        if isinstance(of_pass, str):
            of_pass = (await find_pass(journal, of_pass, settings)).id
        if of_pass is not None:
            command += ["--pass", str(of_pass)]
        if workflow_id is not None:
            command += ["--workflow-id", workflow_id]
        pages = journal.changes(limit if as_json else shown + 1, of_pass, workflow_id)
        await _show(pages, ChangeTable(screen(), shown), command, as_json=as_json)
    return OK


async def _show(
    pages: AsyncGenerator[Sequence[Any], None],
    table: Listing[Any],
    command: Sequence[str],
    *,
    as_json: bool,
) -> None:
    """Print pages; the table gets one entry more than it shows, to know whether there are more."""
    async with aclosing(pages):
        async for page in pages:
            if not as_json:
                table.add(page)
                continue
            for each in page:
                print(json.dumps(labelled(each.as_json())))
    if not as_json:
        table.end(command)


def _pass_prefix(prefix: str) -> str:
    """The id of a pass, or its beginning, as typed."""
    digits = prefix.replace("-", "")
    if not 0 < len(digits) <= DIGITS or set(digits.lower()) - set(hexdigits):
        raise ConfigurationError(
            f"{prefix!r} is not the id of a pass or its beginning", "see `reconciler passes`"
        )
    return prefix
