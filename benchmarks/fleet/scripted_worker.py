"""`reconciler worker` to which Temporal answers immediately; run as a program.

Only what it asks about rows is scripted: the workflow and its activities run on the real server.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from unittest.mock import patch

from benchmarks.scripted import COMPLETED, FAILED, ScriptedProbe
from reconciler.core.model import Missing, Observation, Open, RunRow

#: How the workflow ids of missing rows begin.
MISSING = "missing"


class FleetProbe(ScriptedProbe):
    """Of a thousand rows, eight have completed, two have failed, the others are open.

    So the journal of millions of rows stays small.
    """

    ANSWERS: Sequence[Observation] = (*[COMPLETED] * 8, *[FAILED] * 2, *[Open()] * 990)

    def __init__(self, *_: Any, **__: Any) -> None:
        """Takes the arguments of the true one."""
        self._asked = 0

    def retention_of(self, row: RunRow) -> timedelta | None:  # noqa: ARG002
        return None

    async def observe(self, row: RunRow) -> Observation:
        self._asked += 1
        if str(row.workflow_id).startswith(MISSING):
            return Missing()
        return await super().observe(row)

    def rpcs(self) -> Mapping[str, int]:
        return {"describe": self._asked}


if __name__ == "__main__":
    # Only developers have grpcio. The SDK does not need it, but where it is installed, loads it.
    with patch.dict(sys.modules, {"grpc": None}):
        from reconciler.__main__ import main

        with patch("reconciler.fleet.range_pass.NamespacesProbe", FleetProbe):
            main()
