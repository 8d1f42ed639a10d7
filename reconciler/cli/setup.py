"""Before the first pass, and after the last: `migrate`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from io import StringIO
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli.base import (
    OK,
    Target,
    Wait,
    can_ask,
    cli,
    confirm,
    load_each,
    patience,
    print_error,
)
from reconciler.cli.each_target import Each
from reconciler.core.errors import ConfigurationError
from reconciler.core.text import visible
from reconciler.host.signals import signals

if TYPE_CHECKING:
    from reconciler.postgres.migrate.removable import Removal
    from reconciler.settings.model import Settings


@cli.command(
    epilog="""\b
Examples:
  reconciler migrate --sql            what it would do, for a DBA to run
  reconciler migrate --remove         show what it created; on a terminal, ask and drop it
  reconciler migrate --remove --yes   drop it; columns that it added to your table stay
  reconciler migrate --remove --target exports   drop what no other target needs"""
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
    target: Target = None,
) -> int:
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
    up_to, targets = patience(wait), load_each(target)
    # What other targets need is kept, so all of them must be known.
    left = list(load_each()) if remove else []
    printed: list[Settings] = []
    each = Each(targets=targets, named=target, works=True, headings=not sql)

    def one(settings: Settings) -> int:
        signals.run(partial(wait_for_database, settings, up_to))
        if sql and each.are_several:
            _print_comment(settings)
        if remove:
            others = [other for other in left if other.target != settings.target]
            if _remove(settings, others, with_columns=drop_columns, sql=sql, yes=yes):
                left[:] = others
        elif sql:
            _print_sql(settings, printed, create_table=create_table)
            printed.append(settings)
        else:
            _migrate(settings, targets, create_table=create_table)
        return OK

    return each.run(one)


def _print_comment(settings: Settings) -> None:
    """Say which target the next statements are for, and where to run them."""
    from reconciler.settings.display import database_place

    place = database_place(settings.database_url.get_secret_value())
    print(_exact(visible(f"-- target {settings.target}, database {place}")))


def _print_sql(settings: Settings, earlier: Sequence[Settings], *, create_table: bool) -> None:
    from reconciler.app import setup as app

    text = StringIO()
    printing = partial(app.migration_sql, settings, text, earlier, create_table=create_table)
    signals.run(printing)
    print(_exact(text.getvalue()), end="")


def _migrate(settings: Settings, targets: Sequence[Settings], *, create_table: bool) -> None:
    from reconciler.app import setup as app

    others = [each for each in targets if each is not settings]
    done = signals.run(partial(app.migrate, settings, others, create_table=create_table))
    for line in done or ["nothing to do: up to date"]:
        print(visible(line))


def _remove(
    settings: Settings, others: Sequence[Settings], *, with_columns: bool, sql: bool, yes: bool
) -> bool:
    """Remove what the others do not need; returns whether nothing of it is left."""
    from reconciler.app import setup as app

    found = signals.run(partial(app.find_removal, settings, others, with_columns=with_columns))
    if sql:
        print(_exact("".join(f"{statement};\n" for statement in found.statements)), end="")
        return True
    for line in found.lines() if found else ["nothing to remove", *found.lines()]:
        print(visible(line))
    if not found:
        return True
    if not yes and not (can_ask() and confirm(_question(settings, found))):
        print_error("nothing was dropped" + ("" if can_ask() else ": --yes drops it"))
        return False
    for line in signals.run(partial(app.remove, settings, others, with_columns=with_columns)):
        print(visible(line))
    print("dropped")
    return True


def _question(settings: Settings, found: Removal) -> str:
    if not settings.target:
        return "Drop this?"
    schema = ", and the schema reconciler" if found.own else ""
    return f"Drop this of target {settings.target}{schema}?"


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
