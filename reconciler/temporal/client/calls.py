"""One call to Temporal: rate limits, time limit, retries, count."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any, TypeVar

from google.protobuf.message import DecodeError
from temporalio.service import RPCError, RPCStatusCode

from reconciler.temporal.client.answers import Answers
from reconciler.temporal.client.error_codes import (
    NO_ACCESS,
    is_away,
    is_overload,
    is_rate_limit,
    undecoded,
)
from reconciler.temporal.client.rate_limiter import RateLimiter
from reconciler.temporal.config.api_key import KeyFile

#: Per attempt. A describe takes milliseconds; a server that needs longer is in trouble.
RPC_TIMEOUT = timedelta(seconds=10)
#: Per first attempt, once a pass is wary (see `Answers.wary`).
BRIEF_TIMEOUT = timedelta(seconds=1)
#: An attempt that took at least this many seconds hung; a shorter one was refused.
HUNG_SECONDS = BRIEF_TIMEOUT.total_seconds() / 2
#: Seconds between the tries of a throttled call (about 16 in all); then the pass gives way.
THROTTLED_PAUSES = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0)

_Response = TypeVar("_Response")


class Refused(Exception):
    """An error that is not to be retried, or was retried without success."""

    def __init__(self, error: RPCError, began: float, tried: float, *, hung: bool) -> None:
        """`began`, `tried`: when the call began, and its last attempt, by `Answers.clock`.

        `hung`: whether that attempt took long.
        """
        super().__init__(error.message)
        self.error, self.began, self.tried, self.hung = error, began, tried, hung


class Calls:
    """Makes the calls of one connection; counts them, and notes which were answered."""

    def __init__(
        self,
        limiter: RateLimiter,
        list_limiter: RateLimiter,
        key_file: KeyFile | None,
        *,
        waits: bool = True,
    ) -> None:
        """`waits`: whether a call waits for its slot, or takes it so that others wait."""
        self.limiter, self.list_limiter = limiter, list_limiter
        self.key_file, self._waits = key_file, waits
        self.answers = Answers()
        #: The calls that have ended, by kind and by gRPC's name of the code.
        self.ended: Counter[tuple[str, str]] = Counter()

    def at_once(self) -> Calls:
        """The same limits, without waiting for a slot; with its own counts."""
        return Calls(self.limiter, self.list_limiter, self.key_file, waits=False)

    async def call(
        self,
        kind: str,
        method: Callable[..., Awaitable[_Response]],
        request: Any,
        metadata: Mapping[str, str | bytes] | None = None,
        *,
        patient: bool = False,
    ) -> _Response:
        """Make a call; `patient`: with its full time in any case. Raises `Refused`."""
        retries: _Retries | None = None  # made when needed: most calls are answered at once
        answers, namespace = self.answers, request.namespace
        in_haste = answers.wary(kind) and not patient
        timeout = min(BRIEF_TIMEOUT, RPC_TIMEOUT) if in_haste else RPC_TIMEOUT
        began = answers.clock()
        while True:
            if kind == "list":
                await self.list_limiter.acquire()
            await self.limiter.acquire(wait=self._waits)
            key = None if self.key_file is None else self.key_file.renewed()
            code, tried = RPCStatusCode.CANCELLED, answers.clock()  # unless it is answered
            try:
                answer = await method(
                    request, retry=False, metadata=metadata or {}, timeout=timeout
                )
            except (RPCError, DecodeError) as caught:
                error = caught if isinstance(caught, RPCError) else undecoded(caught)
                code = error.status
                retries = retries or _Retries(self, kind, namespace)
                hung = answers.clock() - tried >= HUNG_SECONDS
                if not await retries.again(error, tried, key, hung=hung):
                    raise Refused(error, began, tried, hung=hung) from caught
                timeout = RPC_TIMEOUT if retries.away else timeout
            else:
                code = RPCStatusCode.OK
                answers.answered(kind, namespace)
                return answer
            finally:
                self.ended[kind, code.name] += 1


class _Retries:
    """What one call is tried again for: once each for silence and access, longer if throttled."""

    def __init__(self, calls: Calls, kind: str, namespace: str) -> None:
        self._calls, self._kind, self._namespace = calls, kind, namespace
        self._pauses = iter(THROTTLED_PAUSES)
        #: Whether it is tried again because there was no answer.
        self.away = False
        self._renewed = False

    async def again(self, error: RPCError, tried: float, key: str | None, *, hung: bool) -> bool:
        """Whether to try again, after a pause where one is due.

        `tried` is when the attempt began, `key` the API key that it was made with.
        """
        if limited := is_rate_limit(error):
            # Each of the server's quotas has its limiter here, which alone gives way for it.
            lists = self._kind == "list"
            (self._calls.list_limiter if lists else self._calls.limiter).throttled()
        if limited and not is_overload(error) and (pause := next(self._pauses, None)):
            await asyncio.sleep(pause)
            return True
        if is_away(error) and not self.away and not (hung and self._is_stuck(tried)):
            self.away = True
            return True
        if error.status in NO_ACCESS and not self._renewed and self._key_has_changed(key):
            self._renewed = True
            return True
        return False

    def _is_stuck(self, tried: float) -> bool:
        """Whether a second attempt is not worth the time, as the first one hung."""
        answers = self._calls.answers
        others_answered = answers.answered_since(tried, self._namespace)
        return self._kind == "namespace" or (answers.wary(self._kind) and others_answered)

    def _key_has_changed(self, key: str | None) -> bool:
        key_file = self._calls.key_file
        return key_file is not None and key_file.renewed(at_once=True) != key
