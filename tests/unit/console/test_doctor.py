"""What `doctor` prints for people."""

from __future__ import annotations

import io

from rich.console import Console

from reconciler.console.doctor import print_examination
from reconciler.doctor.findings import Examination, failure, not_checked, ok, warning
from reconciler.settings.display import ResolvedSetting


def printed(examination: Examination) -> list[str]:
    output = io.StringIO()
    print_examination(examination, Console(file=output, width=80))
    return output.getvalue().splitlines()


def test_a_line_per_setting_and_per_check() -> None:
    settings = [
        ResolvedSetting("A", "long value", "environment"),
        ResolvedSetting("BB", "b", ".env"),
    ]
    findings = [
        ok("table", "fits"),
        warning("index", "is missing", "run `reconciler migrate`"),
        failure("namespace", "is not there", "set TEMPORAL_NAMESPACE"),
        not_checked("oldest row", "no connection"),
    ]

    assert printed(Examination(settings, findings)) == [
        "A   long value  environment",
        "BB  b           .env",
        "",
        "ok       table       fits",
        "warning  index       is missing → run `reconciler migrate`",
        "failure  namespace   is not there → set TEMPORAL_NAMESPACE",
        "–        oldest row  not checked: no connection",
        "",
        "failure: 1 ok, 1 warning, 1 failure, 1 not checked",
    ]


def test_a_long_line_does_not_wrap_and_markup_is_literal() -> None:
    lines = printed(Examination([], [failure("table", "[bold]" + "long " * 50, "fix [it]")]))

    assert len([line for line in lines if line.startswith("failure  ")]) == 1
    assert any("[bold]long" in line and line.endswith("→ fix [it]") for line in lines)


def test_the_summary_where_nothing_is_wrong() -> None:
    assert printed(Examination([], [ok("table", "fits"), ok("index", "serves")]))[-1] == (
        "ok: 2 ok, 0 warnings, 0 failures"
    )
