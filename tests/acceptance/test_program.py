"""What a forked command cannot show: that each command loads whatever it needs by itself."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler import __version__
from tests.support.commands.command import Command


async def test_it_is_the_program(reconciler: Command) -> None:
    result = await replace(reconciler, fresh=True)("--version")

    assert (result.code, result.out, result.err) == (0, f"reconciler {__version__}\n", "")


async def test_a_shell_completes_commands(reconciler: Command) -> None:
    asked = {"COMP_WORDS": "reconciler ba", "COMP_CWORD": "1"}

    result = await replace(reconciler, fresh=True)(_RECONCILER_COMPLETE="complete_bash", **asked)

    assert (result.code, result.out.split(), result.err) == (0, ["backfill"], "")


# The others are started somewhere: `migrate` from its wheel, `backfill` at a terminal.
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["explain", "nobody"], 3, "no row of workflow nobody"),
        (["passes"], 0, ""),
        (["undo", "0e295662-de0c-44e7-8d52-c43d2d388018"], 2, "there is no pass"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
async def test_a_command_that_is_started(
    reconciler: Command, arguments: list[str], code: int, message: str
) -> None:
    result = await replace(reconciler, fresh=True)(*arguments)

    assert result.code == code, result.err
    assert message in result.err
