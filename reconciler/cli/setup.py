"""What is done before the first pass, and after the last: `migrate`."""

from __future__ import annotations

import sys
from functools import partial
from io import StringIO
from typing import Annotated

import typer

from reconciler.cli.base import cli, load
from reconciler.core.errors import ConfigurationError
from reconciler.core.text import visible
from reconciler.host.signals import signals


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
