"""Stored histories, without what a replay does not need."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from temporalio.client import WorkflowHistory

#: Recorded by a version that accepted late updates and did not protect results from changes.
BEFORE_SEALING = Path(__file__).parent / "before_sealing"
#: Of distributed backfills, recorded by the version that introduced them.
FLEET = Path(__file__).parent / "fleet"
_NOT_NEEDED = {
    "stackTrace",
    "identity",
    "taskId",
    "requestId",
    "historySizeBytes",
    "workerVersion",
    "meteringMetadata",
    "workflowTaskCompletedEventId",
}


def stored(history: WorkflowHistory) -> str:
    """A history as it is stored."""
    content = {"workflow_id": history.workflow_id, **json.loads(history.to_json())}
    return json.dumps(_bare(content), separators=(",", ":")) + "\n"


def _bare(value: Any) -> Any:
    if isinstance(value, list):
        return [_bare(each) for each in value]
    if not isinstance(value, dict):
        return value
    if value.get("kind") == "TASK_QUEUE_KIND_STICKY":
        return {**value, "name": "sticky"}
    return {key: _bare(each) for key, each in value.items() if key not in _NOT_NEEDED}


def stored_histories() -> Iterator[tuple[str, WorkflowHistory]]:
    """The histories by name."""
    for file in sorted(BEFORE_SEALING.glob("*.json")):
        yield file.stem, read_history(json.loads(file.read_text()))


def read_history(content: dict[str, Any]) -> WorkflowHistory:
    """A history from what is stored."""
    return WorkflowHistory.from_json(content.pop("workflow_id"), content)
