"""Decode the encoded attributes of failures before they are described.

If that fails, the row gets the text of the encoded failure ("Encoded failure"). No pass fails
because of it, and no row is skipped. A codec that is down or hangs delays a pass only briefly:
after a few such calls in a row it is not called for a while.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import structlog
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import HistoryEvent

from reconciler.core.errors import ConfigurationError
from reconciler.core.observer import Observer, PassView
from reconciler.host.causes import Causes, in_words
from reconciler.temporal.failures.codec import (
    Codec,
    CodecUnusable,
    Undecodable,
    describe_error,
    is_ending,
)
from reconciler.temporal.failures.data_converter import DataConverterCodec, load_converter
from reconciler.temporal.failures.encoded_attributes import encoded_attributes, with_messages

#: Failures decoded at the same time.
MAX_CONCURRENT = 4
#: After this many unusable answers in a row, the codec is not called for `PAUSE_SECONDS`.
MAX_UNUSABLE = 3
PAUSE_SECONDS = 60.0

log = structlog.get_logger(__name__)


class FailureDecoder(Observer):
    """Decodes failures; logs once per pass what could not be decoded."""

    def __init__(
        self, codec: Codec, timeout: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`timeout`: seconds to decode one failure with all its causes."""
        self._codec, self._timeout, self._clock = codec, timeout, clock
        self._slots = asyncio.Semaphore(MAX_CONCURRENT)
        self._unusable = 0
        self._paused_until = 0.0
        self._causes = Causes(lines=0)
        #: Failures that kept their encoded text since the start.
        self.undecoded = 0

    async def decode_event(
        self, event: HistoryEvent, namespace: str, workflow_id: str
    ) -> HistoryEvent:
        """The close event with its failure decoded, if it has one. Never raises."""
        if not event.HasField("workflow_execution_failed_event_attributes"):
            return event
        failure = event.workflow_execution_failed_event_attributes.failure
        if not encoded_attributes(failure):
            return event
        decoded = HistoryEvent()
        decoded.CopyFrom(event)
        decoded.workflow_execution_failed_event_attributes.failure.CopyFrom(
            await self.decode(failure, namespace, workflow_id)
        )
        return decoded

    async def decode(self, failure: Failure, namespace: str, workflow_id: str) -> Failure:
        """The failure with the messages that can be decoded. Never raises."""
        if not (payloads := encoded_attributes(failure)):
            return failure
        try:
            answers = await self._call_codec(payloads, namespace, workflow_id)
            messages = [None if isinstance(each, Undecodable) else each for each in answers]
            decoded = with_messages(failure, messages)
        except BaseException as error:
            if is_ending(error):
                raise
            self._count(error)
            return failure
        if errors := [each for each in answers if isinstance(each, Undecodable)]:
            self._count(errors[0])
        return decoded

    async def on_pass(self, report: PassView) -> None:  # noqa: ARG002
        """A pass has ended."""
        self.log_undecoded()

    def log_undecoded(self) -> None:
        """Log what could not be decoded since the last call, if anything."""
        if counts := self._causes.end_round(repeat=True):
            log.warning(
                "failures_undecoded",
                hint="their rows have the text of the encoded failure",
                failures=sum(counts.values()),
                why=in_words(counts),
            )

    async def _call_codec(
        self, payloads: Sequence[Payload], namespace: str, workflow_id: str
    ) -> Sequence[str | Undecodable]:
        async with self._slots:
            if self._clock() < self._paused_until:
                raise Undecodable("the codec failed just now, and was not called")
            try:
                async with asyncio.timeout(self._timeout):
                    answers = await self._codec.decode(payloads, namespace, workflow_id)
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
            self._paused_until = self._clock() + PAUSE_SECONDS

    def _count(self, error: BaseException) -> None:
        self._causes.is_news(describe_error(error))
        self.undecoded += 1


def make_codec(
    data_converter: str | None, codec_endpoint: str | None, codec_headers: Sequence[tuple[str, str]]
) -> Codec | None:
    """The codec for a data converter's import string or a codec server's URL; None for neither.

    Raises `ConfigurationError` if it cannot be created.
    """
    if data_converter is not None:
        return DataConverterCodec(load_converter(data_converter))
    if codec_endpoint is not None:
        try:
            from reconciler.temporal.failures.codec_server import CodecServer  # noqa: PLC0415
        except ModuleNotFoundError as error:
            raise ConfigurationError(
                f"RECONCILER_CODEC_ENDPOINT needs the package {error.name}",
                f"pip install {error.name}, or the extra temporal-reconciler[codec]",
            ) from None
        return CodecServer(codec_endpoint, codec_headers)
    return None


@asynccontextmanager
async def decoding_failures(
    codec: Codec | None, seconds: float
) -> AsyncIterator[FailureDecoder | None]:
    """A decoder with `seconds` for each failure, closed in the end; None without a codec."""
    if codec is None:
        yield None
        return
    decoder = FailureDecoder(codec, seconds)
    try:
        yield decoder
    finally:
        decoder.log_undecoded()  # of failures outside of a pass
        await codec.close()
