"""`init`, which writes the settings for a table into a file."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from reconciler.cli.base import as_utf8, cli, load_outside
from reconciler.core.errors import ConfigurationError
from reconciler.core.text import visible
from reconciler.host.files import append_whole, read_file
from reconciler.host.signals import signals

_FILE = "reconciler.toml"
#: What describes a table in a file without targets.
_TABLE = {"table", "columns", "statuses"}


@cli.command(
    epilog="""\b
Examples:
  reconciler init
  reconciler init sync_job --workflow-id 'sync-{id}'
  reconciler init billing.jobs --output jobs.toml   and later: reconciler --config jobs.toml once
  reconciler init exports --target exports          add the section of a target"""
)
def init(
    table: Annotated[
        str | None, typer.Argument(metavar="TABLE", help="The table; needed if several would fit.")
    ] = None,
    workflow_id: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="The column with the workflow ids, or how they are composed: 'sync-{id}'.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The file to write; never overwritten.  [default: reconciler.toml]",
            show_default=False,
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Write a section [targets.NAME], at the end of FILE if it exists."
        ),
    ] = None,
) -> None:
    """Write a commented reconciler.toml that fits your table.

    Looks for a table with a column like workflow_id, and derives the settings from its columns and
    values. Needs DATABASE_URL. Writes nothing into the database, and no URL or password into FILE.
    """
    from reconciler.app import setup as app

    name = as_utf8("--target", target)
    file, before = _room_for_file(output) if name is None else _room_for_section(output, name)
    text, found = signals.run(
        partial(
            app.suggest,
            load_outside(),
            as_utf8("TABLE", table),
            as_utf8("--workflow-id", workflow_id),
            name,
        )
    )
    _write(file, text, None if before is None else _added(file, before, text))
    where, of = (f"{file}: [targets.{name}]", f" --target {name}") if name else (str(file), "")
    checked = f"check every line, then run `reconciler doctor{of}`"
    print(visible(f"{where} is for table {found}: {checked}"))
    had = _parsed(file, before or b"").keys()
    if "targets" not in had and _TABLE & had:
        print("what stands above is for all targets now: the table there needs a section, too")


def _write(file: Path, text: str, added: bytes | None) -> None:
    """Create the file, or append to it. Raises `ConfigurationError`."""
    try:
        if added is not None:
            append_whole(file, added)
            return
        with file.open("x", encoding="utf-8") as created:
            created.write(text)
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be written: {error.strerror}") from None


def _room_for_file(output: Path | None) -> tuple[Path, None]:
    """The file to create. Raises `ConfigurationError` if it exists, or there are targets."""
    from reconciler.settings.sources import config_file, read_targets

    file = output or Path(_FILE)
    exists = os.path.lexists(file)
    try:
        names = read_targets()
    except ConfigurationError:
        if not exists:
            raise
        names = ()
    if names:
        has = f"{config_file()} has targets ({', '.join(names)})"
        raise ConfigurationError(has, "name a new one with --target")
    if exists:
        raise ConfigurationError(f"{file} already exists", "name another file with --output")
    return file, None


def _room_for_section(output: Path | None, target: str) -> tuple[Path, bytes | None]:
    """The file that gets the section, and its content if it exists. Raises `ConfigurationError`."""
    from reconciler.settings.sources import check_target_name, config_file

    check_target_name(target, "--target")
    file = output or Path(config_file())
    if not os.path.lexists(file):
        return file, None
    try:
        before = read_file(file)
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read: {error.strerror}") from None
    targets = _parsed(file, before).get("targets")
    if isinstance(targets, dict) and target in targets:
        has = f"{file} has the target {target} already"
        raise ConfigurationError(has, "name another one, or edit its section")
    return file, before


def _added(file: Path, before: bytes, text: str) -> bytes:
    """What is appended to a file for a section. Raises `ConfigurationError` if TOML forbids it."""
    content = text if not before else f"\n{text}" if before.endswith(b"\n") else f"\n\n{text}"
    added = content.replace("\n", "\r\n" if b"\r\n" in before else "\n").encode()
    try:
        _parsed(file, before + added)
    except ConfigurationError:  # an inline table, for example
        problem = f"{file}: no section can be added to its targets"
        raise ConfigurationError(problem, "write each as [targets.NAME]") from None
    return added


def _parsed(file: Path, content: bytes) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise ConfigurationError(f"{file} cannot be read: is not UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{file}: not valid TOML: {error}") from None
