"""Bad input for `stuck` is one line."""

from __future__ import annotations

import pytest

from reconciler.cli.main import run
from reconciler.cli.stuck import _reason
from reconciler.core.stuck.condition import Reason
from reconciler.core.stuck.summary import STUCK


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            ["--reason", "Stuck"],
            f"--reason 'Stuck' is not known: it is one of {', '.join(STUCK)}",
        ),
        (["--reason", "Waiting"], "--reason 'Waiting' is not known: it is one of Paused, "),
        (["--reason", ""], "--reason '' is not known: it is one of Paused, "),
        (["--type", ""], "--type is empty: name a workflow type"),
        (["--type", "\udcff"], "--type is not UTF-8"),
        (["--older-than", "soon"], "--older-than must be a number of seconds, or a duration such"),
        (["--older-than", "-1h"], "--older-than must be a number of seconds, or a duration such"),
        (["--older-than", "500000d"], "--older-than is too long (it is '500000d')"),
        (["--older-than", "1e99d"], "--older-than must be"),
        (["--limit", "0"], "Invalid value for '--limit'"),
    ],
    ids=lambda value: ascii(" ".join(value)) if isinstance(value, list) else "",
)
def test_bad_input(arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["stuck", *arguments]) == 2

    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert printed.err.startswith(f"reconciler: {text}")


def test_reasons_are_read_in_any_case() -> None:
    assert _reason("activityretrying") is Reason.ACTIVITY_RETRYING
    assert _reason(" NoWorker ") is Reason.NO_WORKER
