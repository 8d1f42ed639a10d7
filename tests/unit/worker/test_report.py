from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from reconciler.worker.report import EndReport

REPORT = EndReport("order-1", "FAILED", "r", datetime(2026, 1, 1, 12, tzinfo=UTC), "no money")


def test_a_report_survives_the_way_to_the_activity() -> None:
    assert EndReport.from_json(REPORT.to_json()) == REPORT


def test_only_a_named_target_is_part_of_it() -> None:
    named = replace(REPORT, target="orders")

    assert EndReport.from_json(named.to_json()) == named
    assert "target" not in json.loads(REPORT.to_json())


def test_fields_of_a_later_version_are_ignored() -> None:
    later = json.dumps({**json.loads(REPORT.to_json()), "colour": "red"})

    assert EndReport.from_json(later) == REPORT


@pytest.mark.parametrize("text", ["order-1", "17", '{"workflow_id": "order-1"}'])
def test_anything_else_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        EndReport.from_json(text)
