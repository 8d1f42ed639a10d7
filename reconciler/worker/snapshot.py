"""What a workflow's function returned or raised, as it was at that moment.

While the end is written, the workflow's signals, updates and tasks keep running. They may change
the very object that was returned (`return self.items`), and so may serialising it: a generator is
exhausted afterwards. The row says how the workflow ended, so it has to end exactly that way. Where
other interceptors may see the object, and it has not changed, the object itself is returned.
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

from reconciler.worker.cancellation import cancellation_reason
from reconciler.worker.late_messages import may_intervene

_IMMUTABLE = (type(None), bool, int, float, str, bytes)


class ResultSnapshot:
    """A result and its payload."""

    def __init__(self, result: Any) -> None:
        """Serialise the result. Raises what the SDK would raise if that is not possible."""
        self._result = result
        self.payloads = _payloads(result)
        self._copy = None if type(result) in _IMMUTABLE else self._make_copy()

    @property
    def is_stable(self) -> bool:
        """Whether what will be returned can no longer change."""
        return type(self._result) in _IMMUTABLE or self._copy is not None

    def value(self, *, seen: bool) -> Any:
        """What to return: its payload is the one that was checked, byte for byte.

        If others have `seen` the object, this is the object itself, unless it has changed;
        otherwise the copy, to avoid serialising the object again.
        """
        if type(self._result) in _IMMUTABLE:
            return self._result
        if self._copy is None:
            return self._result if self._means_the_same() else self._decoded()
        return self._result if seen and self._is_unchanged() else self._copy

    def _is_unchanged(self) -> bool:
        try:
            return _payloads(self._result) == self.payloads
        except Exception:  # noqa: BLE001 - it may contain what cannot be serialised by now
            return False

    def _means_the_same(self) -> bool:
        """Compare decoded values, where the converter never makes the same payload twice."""
        try:
            before = self._decoded()
        except Exception:  # noqa: BLE001 - there is nothing else to return
            return True
        try:
            return bool(_decoded(_payloads(self._result)) == before)
        except Exception:  # noqa: BLE001 - it may contain what cannot be serialised by now
            return False

    def _make_copy(self) -> Any | None:
        """Another object with the same payload; None if the converter makes none."""
        for make in (self._raw, self._decoded):
            with contextlib.suppress(Exception):  # the converter does not support this one
                if _payloads(candidate := make()) == self.payloads:
                    return candidate
        return None

    def _raw(self) -> Any:
        """The payload itself: the SDK's converters pass it through, others may not know it."""
        payload = Payload()
        payload.CopyFrom(self.payloads[0])  # the converter may modify it
        return RawValue(payload)

    def _decoded(self) -> Any:
        return _decoded(self.payloads)


class ErrorSnapshot:
    """An error and the failure that Temporal will get."""

    def __init__(self, error: BaseException, converter: type[FailureConverter]) -> None:
        self.error = error
        self._converter = converter
        self._was_cancelled = cancellation_reason() is not None
        self.failure: Failure | None = None

    def convert(self) -> Failure:
        """Make the failure as the SDK would, and keep it.

        If the converter raises, what it has filled in so far is kept: the SDK sends that.
        """
        self.failure = Failure()
        self._convert(self.error, self.failure)
        return self.failure

    def replacement(self, *, seen: bool) -> BaseException | None:
        """What to raise in place of the error; None: the error itself.

        If others have `seen` the error, it is raised unless it has changed; otherwise it is
        replaced if possible, to avoid converting it again.
        """
        if self.failure is None:
            return None
        if self._became_a_cancellation() and may_intervene():
            return self._stand_in(self.failure) or _error_of(self.failure)
        return None if seen and self._is_unchanged() else self._stand_in(self.failure)

    def _became_a_cancellation(self) -> bool:
        """Whether the SDK would take the error for the answer to a late cancellation request."""
        is_cancelled = cancellation_reason() is not None
        return is_cancelled and not self._was_cancelled and is_cancelled_exception(self.error)

    def _is_unchanged(self) -> bool:
        failure = Failure()
        with contextlib.suppress(Exception):  # its details may contain anything by now
            self._convert(self.error, failure)
        return failure == self.failure

    def _stand_in(self, failure: Failure) -> BaseException | None:
        """An error that converts to this failure; None if the failure converter makes none."""
        for candidate in (failure, self._decoded(failure)):
            if candidate is not None and self._converted(_error_of(candidate)) == failure:
                return _error_of(candidate)
        return None

    def _decoded(self, encoded: Failure) -> Failure | None:
        """The failure before the converter encoded its message."""
        failure = Failure()
        failure.CopyFrom(encoded)
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


def is_serialisable(value: Any) -> bool:
    """Whether the value can be serialised now; that may be different later."""
    try:
        _payloads(value)
    except Exception:  # noqa: BLE001 - whatever it is
        return False
    return True


def _error_of(failure: Failure) -> FailureError:
    return FailureError(failure.message, failure=failure)


def _payloads(value: Any) -> list[Payload]:
    return workflow.payload_converter().to_payloads([value])


def _decoded(payloads: list[Payload]) -> Any:
    return workflow.payload_converter().from_payloads(payloads)[0]
