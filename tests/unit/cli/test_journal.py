from __future__ import annotations

import pytest

from reconciler.cli.main import run


def test_a_workflow_id_that_is_not_utf8_is_rejected(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["changes", "--workflow-id", "\udcff"]) == 2
    assert capsys.readouterr().err == "reconciler: --workflow-id is not UTF-8\n"
