"""Unknown words on a command line: one line that names the help to read."""

from __future__ import annotations

import pytest

from reconciler.cli.main import run


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            ["once", "extra"],
            "Got unexpected extra argument(s) (extra); see reconciler once --help",
        ),
        (["explain"], "Missing argument 'WORKFLOW_ID'; see reconciler explain --help"),
        (["onec"], "No such command 'onec'. Did you mean 'once'?; see reconciler --help"),
        (
            ["--json", "once"],
            "No such option: --json (Possible options: --version); see reconciler --help",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_names_the_help_of_its_command(
    arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2

    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", f"reconciler: {text}\n")
