"""`stuck`: which running rows have workflows that are not healthy, and why."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import aclosing, closing, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reconciler.cli.base import (
    OK,
    UNRESOLVED,
    AsJson,
    Target,
    as_utf8,
    cli,
    load_each,
)
from reconciler.cli.each_target import Each, of_target
from reconciler.console.screen import screen
from reconciler.core.errors import ConfigurationError, Unusable
from reconciler.core.model import Mode
from reconciler.core.stuck.condition import Reason, StuckRow
from reconciler.core.stuck.summary import ALL, STUCK, Selection, row_as_json, summary_as_json
from reconciler.host.signals import INTERRUPTED, signals

if TYPE_CHECKING:
    from reconciler.app.stuck.report import StuckReport
    from reconciler.settings.model import Settings

#: The default limit of the table.
ROWS = 50
#: An age that is no time of the calendar cannot be subtracted from now.
_LONGEST = timedelta(days=365 * 1000)
_REASONS = ", ".join(reason.value for reason in STUCK)


@cli.command(
    epilog=f"""\b
Examples:
  reconciler stuck
  reconciler stuck --reason ActivityRetrying --older-than 1h
  reconciler stuck --check --json

\b
Reasons:
  {", ".join(STUCK[:5])},
  {", ".join(STUCK[5:])}

Exit code 3: some rows could not be judged. More: docs/stuck.md"""
)
def stuck(
    reason: Annotated[
        list[str] | None,
        typer.Option(
            metavar="REASON", help="Only rows of this reason. May be given several times."
        ),
    ] = None,
    workflow_type: Annotated[
        str | None, typer.Option("--type", metavar="TYPE", help="Only this workflow type.")
    ] = None,
    older_than: Annotated[
        str | None, typer.Option(metavar="1h", help="Only rows stuck for at least as long.")
    ] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Ask Temporal about every running row now, instead of the record."
        ),
    ] = False,
    limit: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help=f"List at most N rows; default {ROWS}, with --json all."
        ),
    ] = None,
    as_json: AsJson = False,
    target: Target = None,
) -> int:
    """List running rows whose workflows are stuck, and why.

    Groups of the same cause first. Reads what passes recorded. Writes nothing.
    """
    selection = Selection(
        frozenset(map(_reason, reason or [])), _type(workflow_type), _age(older_than)
    )
    given = [*(("--reason", each) for each in reason or []), ("--type", workflow_type)]
    given.append(("--older-than", older_than))
    options = [part for name, value in given if value is not None for part in (name, value)]
    asked = _Asked(selection, limit, as_json, [*options, *(["--check"] if check else [])])
    each = Each(targets=load_each(target), named=target, as_json=as_json)
    return each.run(partial(_list, _check if check else _stored, asked))


@dataclass(frozen=True, slots=True)
class _Asked:
    """What to list, and how."""

    selection: Selection
    limit: int | None
    as_json: bool
    #: The options that choose rows, as given.
    options: Sequence[str]

    @property
    def rows(self) -> int | None:
        """The rows to read: the table gets one more than it shows, to know whether there are more.

        None for all.
        """
        return self.limit if self.as_json else (self.limit or ROWS) + 1


def _list(
    way: Callable[[Settings, _Asked], Coroutine[Any, Any, int]], asked: _Asked, settings: Settings
) -> int:
    asked = replace(asked, options=[*asked.options, *of_target(settings)])
    return signals.run(partial(way, settings, asked))


async def _stored(settings: Settings, asked: _Asked) -> int:
    from reconciler.app.stuck.recorded import open_record

    async with open_record(settings) as record:
        report = await record.report(asked.selection)
        return await _show(report, record.rows(asked.selection, asked.rows), asked)


async def _check(settings: Settings, asked: _Asked) -> int:
    from reconciler.app.stuck.check import Longest, Spool, check, describing_all
    from reconciler.app.wiring import open_app
    from reconciler.console.progress import show_progress
    from reconciler.core.report.pass_report import PassReport
    from reconciler.core.report.request import PassRequest
    from reconciler.passes.lifecycle import reported
    from reconciler.passes.observers import Bystander

    report = PassReport.begin(PassRequest(Mode.ONCE, dry_run=True), datetime.now(UTC))
    terminal = screen(stderr=True)
    with closing(Spool()) if asked.rows is None else nullcontext(Longest(asked.rows)) as listed:
        with reported(report):
            async with open_app(describing_all(settings), writing=False) as app:
                checking = partial(check, app, asked.selection, listed, report)
                if not terminal.is_terminal:
                    found = await checking()
                else:
                    rows = await app.count_running()
                    with show_progress(terminal, rows, dry_run=True) as bar:
                        found = await checking([Bystander(bar)])
        if signals.asked:
            return INTERRUPTED
        if report.error is not None:
            raise Unusable(report.error)
        return await _show(found, listed.pages(), asked)


async def _show(
    report: StuckReport, pages: AsyncGenerator[Sequence[StuckRow], None], asked: _Asked
) -> int:
    """Print the groups, then the rows; returns the exit code."""
    async with aclosing(pages):
        if asked.as_json:
            await _print_json(report, pages)
        else:
            await _print_table(report, pages, asked)
    return OK if report.is_certain else UNRESOLVED


async def _print_table(
    report: StuckReport, pages: AsyncGenerator[Sequence[StuckRow], None], asked: _Asked
) -> None:
    from reconciler.console.stuck import StuckTable, print_end, print_groups

    console = screen()
    table = StuckTable(console, asked.limit or ROWS)
    print_groups(report, console)
    async for page in pages:
        table.add(page)
    if report.groups:
        table.end(["stuck", *asked.options])
    print_end(report, console, filtered=asked.selection != ALL)


async def _print_json(report: StuckReport, pages: AsyncGenerator[Sequence[StuckRow], None]) -> None:
    """Print one object, row by row: there may be a million."""
    summary = json.dumps(summary_as_json(report.checked_at, report.rows, report.groups))
    print(f'{summary[:-1]}, "stuck": [', end="")
    separator = ""
    async for page in pages:
        for row in page:
            print(f"{separator}{json.dumps(row_as_json(row))}", end="")
            separator = ", "
    print("]}")


def _reason(text: str) -> Reason:
    known = {reason.value.lower(): reason for reason in STUCK}
    if found := known.get(text.strip().lower()):
        return found
    raise ConfigurationError(f"--reason {text!r} is not known", f"it is one of {_REASONS}")


def _type(text: str | None) -> str | None:
    if text == "":
        raise ConfigurationError("--type is empty", "name a workflow type")
    return as_utf8("--type", text)


def _age(text: str | None) -> timedelta:
    from reconciler.settings.types import parse_duration

    try:
        age = timedelta() if text is None else parse_duration(text)
    except ValueError as error:
        raise ConfigurationError(f"--older-than {error} (it is {text!r})") from None
    if age > _LONGEST:
        raise ConfigurationError(f"--older-than is too long (it is {text!r})")
    return age
