"""What is done before the first pass, and after the last: `init` and `migrate`."""

from __future__ import annotations

import os
import sys
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Annotated

import typer

from reconciler.cli.base import cli, load, readable
from reconciler.core.errors import ConfigurationError
from reconciler.core.text import visible
from reconciler.host.signals import signals


@cli.command(
    epilog="""\b
Examples:
  reconciler init
  reconciler init billing.jobs --output jobs.toml   and later: reconciler --config jobs.toml once"""
)
def init(
    table: Annotated[
        str | None, typer.Argument(metavar="TABLE", help="Needed if several could be meant.")
    ] = None,
    output: Annotated[Path, typer.Option(metavar="FILE", help="Never overwritten.")] = Path(
        "reconciler.toml"
    ),
) -> None:
    """Write a commented reconciler.toml that fits your table.

    Looks for a table with a column called like workflow_id, and goes by the names, types and values
    in it. Needs DATABASE_URL. Writes nothing into the database, and no URL or password into FILE.
    """
    from reconciler.app import setup as app

    if os.path.lexists(output):
        raise ConfigurationError(f"{output} is there already, and is not overwritten")
    settings = load()
    text, name = signals.run(partial(app.suggest, settings, readable("TABLE", table)))
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise ConfigurationError(f"{output} cannot be written: {error.strerror}") from None
    print(visible(f"{output} is for table {name}: check every line, then run `reconciler doctor`"))


@cli.command()
def migrate(
    sql: Annotated[
        bool, typer.Option("--sql", help="Print the statements and run none of them.")
    ] = False,
) -> None:
    """Prepare the database: our schema, missing columns, an index.

    Creates the schema `reconciler`. Adds to your table completed_at and error_message where they
    are missing, and a partial index on the running rows, built concurrently. Where there is no
    table of that name, it is created. Safe to repeat.
    """
    from reconciler.app import setup as app

    settings = load()
    if sql:
        statements = StringIO()
        signals.run(partial(app.migration_sql, settings, statements))
        print(_exact(statements.getvalue()), end="")
        return
    for line in signals.run(partial(app.migrate, settings)) or ["nothing to do: up to date"]:
        print(visible(line))


def _exact(text: str) -> str:
    """The text, if stdout takes it unchanged: an escape would make another statement of it."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        raise ConfigurationError(
            f"the statements have characters that are not in {encoding}: set PYTHONIOENCODING=utf-8"
        ) from None
    return text
