"""What a workflow's function has returned or raised, kept as it was at that moment.

Signals, updates and tasks of the workflow run on while its end is being written, and may change
the very object that was returned: `return self.items`. To serialise it may change it as well: a
generator is at its end then. The row says how the workflow ended, so that is how it must end.
Where other interceptors may look at the object and nothing has changed, it is handed on itself.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from temporalio import workflow
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.common import RawValue
from temporalio.converter import (
    FailureConverter,
    WithSerializationContext,
    WorkflowSerializationContext,
)
from temporalio.exceptions import CancelledError, FailureError, is_cancelled_exception

from reconciler.worker.seal import overrules_history

#: Nothing can change what is of one of these types.
_CONSTANT = (type(None), bool, int, float, str, bytes)


class KeptResult:
    """What was returned."""

    def __init__(self, result: Any) -> None:
        """Serialise the result. Raises what the SDK would raise next if that is not possible."""
        self._result = result
        self.payloads = _payloads(result)
        self._copy = None if type(result) in _CONSTANT else self._as_it_is()

    @property
    def is_kept(self) -> bool:
        """Whether nothing can change what will be returned."""
        return type(self._result) in _CONSTANT or self._copy is not None

    def value(self, *, seen: bool) -> Any:
        """What to return: its payload is the one that was checked, byte for byte.

        The object itself, unless it has changed, if it is `seen` by others; else it is not
        serialised once more.
        """
        if type(self._result) in _CONSTANT:
            return self._result
        if self._copy is None:
            return self._result if self._reads_the_same() else self._decoded()
        return self._result if seen and self._is_unchanged() else self._copy

    def _is_unchanged(self) -> bool:
        try:
            return _payloads(self._result) == self.payloads
        except Exception:  # noqa: BLE001 - by now it may hold what cannot be serialised
            return False

    def _reads_the_same(self) -> bool:
        """Whether it means what it did, where the converter never makes the same payload twice."""
        try:
            before = self._decoded()
        except Exception:  # noqa: BLE001 - there is nothing else to return
            return True
        try:
            return bool(_decoded(_payloads(self._result)) == before)
        except Exception:  # noqa: BLE001 - by now it may hold what cannot be serialised
            return False

    def _as_it_is(self) -> Any | None:
        """Something else with the same payload; None if the converter offers nothing."""
        for copy in (self._raw, self._decoded):
            with contextlib.suppress(Exception):  # then it is no copy for this converter
                if _payloads(candidate := copy()) == self.payloads:
                    return candidate
        return None

    def _raw(self) -> Any:
        """The payload itself: the SDK's converters hand it on, others may not know it."""
        payload = Payload()
        payload.CopyFrom(self.payloads[0])  # the converter may write into it
        return RawValue(payload)

    def _decoded(self) -> Any:
        return _decoded(self.payloads)


class KeptError:
    """What was raised, and the failure that Temporal will be told."""

    def __init__(self, error: BaseException, converter: type[FailureConverter]) -> None:
        self.error = error
        self._converter = converter
        self._was_cancelled = workflow.cancellation_reason() is not None
        self.failure: Failure | None = None

    def convert(self) -> Failure:
        """The failure as the SDK is about to make it, which is kept from now on.

        Half of it, if the converter raises: that is what the SDK sends then.
        """
        self.failure = Failure()
        self._convert(self.error, self.failure)
        return self.failure

    def replacement(self, *, seen: bool) -> BaseException | None:
        """What to raise in place of the error, if not that.

        The error itself, unless it has changed, if it is `seen` by others; else it is not converted
        once more.
        """
        if self.failure is None:
            return None
        if self._turned_into_a_cancellation() and overrules_history():
            return self._stand_in(self.failure) or _error_of(self.failure)
        return None if seen and self._is_unchanged() else self._stand_in(self.failure)

    def _turned_into_a_cancellation(self) -> bool:
        """Whether the SDK would take the error for the answer to a request that came too late."""
        is_cancelled = workflow.cancellation_reason() is not None
        return is_cancelled and not self._was_cancelled and is_cancelled_exception(self.error)

    def _is_unchanged(self) -> bool:
        failure = Failure()
        with contextlib.suppress(Exception):  # its details may hold anything by now
            self._convert(self.error, failure)
        return failure == self.failure

    def _stand_in(self, kept: Failure) -> BaseException | None:
        """An error of the same failure, if the failure converter leaves failures as they are."""
        for failure in (kept, self._decoded(kept)):
            if failure is not None and self._converted(_error_of(failure)) == kept:
                return _error_of(failure)
        return None

    def _decoded(self, kept: Failure) -> Failure | None:
        """The failure before the converter has encoded its message."""
        failure = Failure()
        failure.CopyFrom(kept)
        error = self._with_context().from_failure(failure, workflow.payload_converter())
        return error.failure if isinstance(error, FailureError) else None

    def _converted(self, error: BaseException) -> Failure:
        failure = Failure()
        self._convert(error, failure)
        return failure

    def _convert(self, error: BaseException, failure: Failure) -> None:
        if isinstance(error, asyncio.CancelledError):
            error = CancelledError(str(error))  # as the SDK does
        self._with_context().to_failure(error, workflow.payload_converter(), failure)

    def _with_context(self) -> FailureConverter:
        converter = self._converter()
        if not isinstance(converter, WithSerializationContext):
            return converter
        info = workflow.info()
        return converter.with_context(
            WorkflowSerializationContext(namespace=info.namespace, workflow_id=info.workflow_id)
        )


def _error_of(failure: Failure) -> FailureError:
    return FailureError(failure.message, failure=failure)


def _payloads(value: Any) -> list[Payload]:
    return workflow.payload_converter().to_payloads([value])


def _decoded(payloads: list[Payload]) -> Any:
    return workflow.payload_converter().from_payloads(payloads)[0]


def is_serialisable(value: Any) -> bool:
    """Whether it is now; another time it may not be."""
    try:
        _payloads(value)
    except Exception:  # noqa: BLE001 - whatever it is
        return False
    return True
