"""Stored histories: without what a replay does not need."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from temporalio.client import WorkflowHistory

#: Recorded by the version that refused no updates and sealed no results.
BEFORE_SEALING = Path(__file__).parent / "before_sealing"
_OF_NO_USE = {
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
    return {key: _bare(each) for key, each in value.items() if key not in _OF_NO_USE}


def stored_histories() -> Iterator[tuple[str, WorkflowHistory]]:
    """The histories by name."""
    for file in sorted(BEFORE_SEALING.glob("*.json")):
        content = json.loads(file.read_text())
        yield file.stem, WorkflowHistory.from_json(content.pop("workflow_id"), content)
