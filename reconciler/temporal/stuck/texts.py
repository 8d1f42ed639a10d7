"""Texts of other people as conditions may show them: decoded, redacted, in one line."""

from __future__ import annotations

from temporalio.api.failure.v1 import Failure

from reconciler.temporal.failures.failure_decoder import FailureDecoder
from reconciler.temporal.failures.redactor import Redactor
from reconciler.temporal.failures.text import describe_failure


class Texts:
    """Makes texts out of what one workflow's description or history says."""

    def __init__(
        self, redactor: Redactor, decoder: FailureDecoder | None, namespace: str, workflow_id: str
    ) -> None:
        """`namespace`, `workflow_id`: those of the workflow, for the codec."""
        self._redactor, self._decoder = redactor, decoder
        self._of = namespace, workflow_id

    async def failure(self, failure: Failure) -> str:
        """A failure with its causes."""
        if self._decoder:
            failure = await self._decoder.decode(failure, *self._of)
        return await self.line(describe_failure(failure))

    async def line(self, text: str) -> str:
        """A text; empty if there is none."""
        return await self._redactor.line(text) if text else ""
