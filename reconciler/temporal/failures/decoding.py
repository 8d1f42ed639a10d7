"""Failures in clear: encoded attributes are decoded before a failure becomes a text.

Whatever goes wrong here, the row gets the text of the encoded failure ("Encoded failure"). No pass
fails because of it, and no row is left. A codec that is down or hangs costs a pass little: after a
few such calls in a row it is not called for a while.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import HistoryEvent

from reconciler.core.ports import Observer, PassView
from reconciler.host.causes import MAX_CAUSES, OTHER, in_words
from reconciler.temporal.failures.attributes import encoded_attributes, with_messages

#: Failures decoded at the same time.
AT_ONCE = 4
#: After this many unusable answers in a row, the codec is not called for `REST` seconds.
MAX_UNUSABLE = 3
REST = 60.0

#: What a decoder is tried with.
SAMPLE = {"message": "a sample of the reconciler", "stack_trace": ""}

log = structlog.get_logger(__name__)


class Undecodable(Exception):
    """Why something could not be decoded: one line, without anything of what was to be decoded."""


class CodecUnusable(Undecodable):
    """The codec could not be called, or did not answer in time, whatever it was given."""


class Decoder(Protocol):
    """The team's data converter, or its codec server."""

    async def decode(
        self, payloads: Sequence[Payload], namespace: str, workflow_id: str
    ) -> Sequence[str | Undecodable]:
        """The message in each of the payloads. Raises `Undecodable` if none can be had."""
        ...

    async def sample(self, namespace: str) -> str:
        """Encode and decode a sample; how it went. Raises `Undecodable`."""
        ...

    async def close(self) -> None:
        """Give back what it holds."""
        ...


class Decoding(Observer):
    """Decodes failures; logs once per pass what could not be decoded."""

    def __init__(
        self, decoder: Decoder, timeout: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`timeout`: seconds for the decoding of one failure with all its causes."""
        self._decoder, self._timeout, self._clock = decoder, timeout, clock
        self._places = asyncio.Semaphore(AT_ONCE)
        self._unusable, self._rests_until = 0, 0.0
        self._unlogged: Counter[str] = Counter()
        #: Failures that kept their encoded text since the start.
        self.undecoded = 0

    async def event(self, event: HistoryEvent, namespace: str, workflow_id: str) -> HistoryEvent:
        """A close event with its failure in clear, as far as it has one. Never raises."""
        if not event.HasField("workflow_execution_failed_event_attributes"):
            return event
        failure = event.workflow_execution_failed_event_attributes.failure
        if not encoded_attributes(failure):
            return event
        clear = HistoryEvent()
        clear.CopyFrom(event)
        clear.workflow_execution_failed_event_attributes.failure.CopyFrom(
            await self.failure(failure, namespace, workflow_id)
        )
        return clear

    async def failure(self, failure: Failure, namespace: str, workflow_id: str) -> Failure:
        """The failure in clear where it can be had, and else as it is. Never raises."""
        payloads = encoded_attributes(failure)
        try:
            answers = await self._ask(payloads, namespace, workflow_id)
            messages = [None if isinstance(each, Undecodable) else each for each in answers]
            clear = with_messages(failure, messages)
        except BaseException as error:
            if _is_our_end(error):
                raise
            self._note(error)
            return failure
        if wrong := [each for each in answers if isinstance(each, Undecodable)]:
            self._note(wrong[0])
        return clear

    async def on_pass(self, report: PassView) -> None:  # noqa: ARG002
        """A pass has ended."""
        self.log_undecoded()

    def log_undecoded(self) -> None:
        """Log what could not be decoded since the last time, if anything."""
        if not self._unlogged:
            return
        log.warning(
            "failures_undecoded",
            hint="their rows have the text of the encoded failure",
            failures=self._unlogged.total(),
            why=in_words(dict(self._unlogged.most_common(3))),
        )
        self._unlogged.clear()

    async def _ask(
        self, payloads: Sequence[Payload], namespace: str, workflow_id: str
    ) -> Sequence[str | Undecodable]:
        async with self._places:
            if self._clock() < self._rests_until:
                raise Undecodable("the codec failed just now, and was not called")
            try:
                async with asyncio.timeout(self._timeout):
                    answers = await self._decoder.decode(payloads, namespace, workflow_id)
            except TimeoutError:
                self._count_unusable()
                raise CodecUnusable(f"no answer within {self._timeout:g} s") from None
            except CodecUnusable:
                self._count_unusable()
                raise
            except Undecodable:
                self._unusable = 0
                raise
            self._unusable = 0
            return answers

    def _count_unusable(self) -> None:
        self._unusable += 1
        if self._unusable >= MAX_UNUSABLE:
            self._rests_until = self._clock() + REST

    def _note(self, error: BaseException) -> None:
        why = _why(error)
        if why not in self._unlogged and len(self._unlogged) >= MAX_CAUSES:
            why = OTHER
        self._unlogged[why] += 1
        self.undecoded += 1


def _is_our_end(error: BaseException) -> bool:
    """Whether we are being cancelled or the program ends, and it is not the codec's own doing."""
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0
    return isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit)


@dataclass(frozen=True, slots=True)
class Sample:
    """How a decoder did with a sample."""

    ok: bool
    #: In one line.
    text: str


async def try_sample(decoder: Decoder, namespace: str, seconds: float) -> Sample:
    """Try a decoder before it is needed; what happened, in one line. Never raises."""
    try:
        async with asyncio.timeout(seconds):
            return Sample(ok=True, text=await decoder.sample(namespace))
    except TimeoutError:
        return Sample(ok=False, text=f"no answer within {seconds:g} s")
    except BaseException as error:
        if _is_our_end(error):
            raise
        return Sample(ok=False, text=_why(error))


def _why(error: BaseException) -> str:
    """Its text only if it is ours: that of an unknown error may hold a secret."""
    return str(error) if isinstance(error, Undecodable) else type(error).__name__
