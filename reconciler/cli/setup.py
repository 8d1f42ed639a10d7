"""Before the first pass, and after the last: `migrate`."""

from __future__ import annotations

import sys
from functools import partial
from io import StringIO
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli.base import Wait, can_ask, cli, confirm, load, patience, print_error
from reconciler.core.errors import ConfigurationError
from reconciler.core.text import visible
from reconciler.host.signals import signals

if TYPE_CHECKING:
    from reconciler.settings.model import Settings


@cli.command(
    epilog="""\b
Examples:
  reconciler migrate --sql            what it would do, for a DBA to run
  reconciler migrate --remove         show what it created; on a terminal, ask and drop it
  reconciler migrate --remove --yes   drop it; columns that it added to your table stay"""
)
def migrate(
    sql: Annotated[
        bool, typer.Option("--sql", help="Print the statements and run none of them.")
    ] = False,
    create_table: Annotated[
        bool,
        typer.Option(
            "--create-table",
            help="Create the table even if another one in the database could be meant.",
        ),
    ] = False,
    remove: Annotated[
        bool, typer.Option("--remove", help="Drop the schema and the indexes again.")
    ] = False,
    drop_columns: Annotated[
        bool,
        typer.Option(
            "--drop-columns",
            help="With --remove: also drop the columns that were added. THIS DELETES THEIR DATA.",
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --remove: do not ask.")] = False,
    wait: Wait = None,
) -> None:
    """Prepare the database: a schema, missing columns, indexes.

    Creates the schema `reconciler`. Adds completed_at and error_message to your table if they are
    missing, and partial indexes on the running rows, built concurrently. Creates the table if it
    does not exist and no other table looks like one of workflows. Safe to repeat.
    """
    from reconciler.app.waiting import wait_for_database

    if not remove and (drop_columns or yes):
        raise ConfigurationError(f"{'--drop-columns' if drop_columns else '--yes'} needs --remove")
    if remove and create_table:
        raise ConfigurationError("--create-table and --remove exclude each other")
    up_to, settings = patience(wait), load()
    signals.run(partial(wait_for_database, settings, up_to))
    if remove:
        _remove(settings, with_columns=drop_columns, sql=sql, yes=yes)
    else:
        _migrate(settings, create_table=create_table, sql=sql)


def _migrate(settings: Settings, *, create_table: bool, sql: bool) -> None:
    from reconciler.app import setup as app

    if sql:
        statements = StringIO()
        signals.run(partial(app.migration_sql, settings, statements, create_table=create_table))
        print(_exact(statements.getvalue()), end="")
        return
    done = signals.run(partial(app.migrate, settings, create_table=create_table))
    for line in done or ["nothing to do: up to date"]:
        print(visible(line))


def _remove(settings: Settings, *, with_columns: bool, sql: bool, yes: bool) -> None:
    from reconciler.app import setup as app

    found = signals.run(partial(app.find_removal, settings, with_columns=with_columns))
    if sql:
        print(_exact("".join(f"{statement};\n" for statement in found.statements)), end="")
        return
    for line in found.lines() if found else ["nothing to remove", *found.lines()]:
        print(visible(line))
    if not found:
        return
    if not yes and not (can_ask() and confirm("Drop this?")):
        print_error("nothing was dropped" + ("" if can_ask() else ": --yes drops it"))
        return
    for line in signals.run(partial(app.remove, settings, with_columns=with_columns)):
        print(visible(line))
    print("dropped")


def _exact(text: str) -> str:
    """The text, if stdout can encode it: an escape would change the statements."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        raise ConfigurationError(
            f"the statements have characters that are not in {encoding}",
            "set PYTHONIOENCODING=utf-8",
        ) from None
    return text
