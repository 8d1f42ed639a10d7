"""One call to Temporal: rate limits, time limit, retries, count."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

from google.protobuf.message import DecodeError
from temporalio.service import RPCError, RPCStatusCode

from reconciler.temporal.client.answers import Answers
from reconciler.temporal.client.error_codes import (
    NO_ACCESS,
    as_rpc_error,
    is_overload,
    is_rate_limit,
    is_unreachable,
    with_code,
)
from reconciler.temporal.client.rate_limiter import RateLimiter
from reconciler.temporal.config.api_key import KeyFile

#: Per attempt. A describe takes milliseconds; a server that needs longer is in trouble.
RPC_TIMEOUT = timedelta(seconds=10)
#: Per first attempt, once a pass is wary (see `Answers.is_wary`).
BRIEF_TIMEOUT = timedelta(seconds=1)
#: An attempt that took at least this many seconds hung; a shorter one was refused.
HUNG_SECONDS = BRIEF_TIMEOUT.total_seconds() / 2
#: Seconds between the attempts of a throttled call (about 16 in all). After the last, it fails.
THROTTLED_PAUSES = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0)

#: Kinds that may have the quota of lists. Descriptions of queues have it on Temporal Cloud, and
#: the other one on a server of your own (server 1.32, frontend/configs/quotas.go).
LIST_LIMITED = ("list", "queue")

_Response = TypeVar("_Response")


class CallFailed(Exception):
    """A call failed and was not retried, or its retries failed too."""

    def __init__(
        self, kind: str, error: RPCError, began: float, attempted: float, *, hung: bool
    ) -> None:
        """`began`, `attempted`: when the call and its last attempt began, by `Answers.clock`.

        `hung`: whether that attempt took long.
        """
        super().__init__(with_code(error))
        self.kind, self.error, self.hung = kind, error, hung
        self.began, self.attempted = began, attempted


class Calls:
    """Makes and counts the calls of one connection, and records which were answered."""

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

    def apart(self, *, waits: bool = True) -> Calls:
        """Calls under the same limits, with their own counts and record of answers."""
        return Calls(self.limiter, self.list_limiter, self.key_file, waits=waits)

    async def call(
        self,
        kind: str,
        namespace: str,
        method: Callable[..., Awaitable[_Response]],
        *,
        patient: bool = False,
    ) -> _Response:
        """Make a call; `patient`: always with its full time limit. Raises `CallFailed`.

        `method` is a method of the SDK's service with its request bound.
        """
        retries: _Retries | None = None  # made when needed: most calls are answered at once
        answers = self.answers
        brief = answers.is_wary(kind) and not patient
        timeout = min(BRIEF_TIMEOUT, RPC_TIMEOUT) if brief else RPC_TIMEOUT
        began = answers.clock()
        while True:
            if kind in LIST_LIMITED:
                await self.list_limiter.acquire()
            await self.limiter.acquire(wait=self._waits)
            key = None if self.key_file is None else self.key_file.current()
            code, attempted = RPCStatusCode.CANCELLED, answers.clock()  # unless it is answered
            try:
                answer = await method(retry=False, timeout=timeout)
            except (RPCError, DecodeError) as caught:
                error = as_rpc_error(caught)
                code = error.status
                hung = answers.clock() - attempted >= HUNG_SECONDS
                failed = CallFailed(kind, error, began, attempted, hung=hung)
                retries = retries or _Retries(self, kind, namespace)
                if not await retries.should_retry(failed, key):
                    raise failed from caught
                timeout = RPC_TIMEOUT if retries.was_unreachable else timeout
            else:
                code = RPCStatusCode.OK
                answers.answered(kind, namespace)
                return answer
            finally:
                self.ended[kind, code.name] += 1


class _Retries:
    """The retries of one call: one each for silence and denied access, several if throttled."""

    def __init__(self, calls: Calls, kind: str, namespace: str) -> None:
        self._calls, self._kind, self._namespace = calls, kind, namespace
        self._pauses = iter(THROTTLED_PAUSES)
        #: Whether an attempt got no answer and was retried.
        self.was_unreachable = False
        self._key_was_renewed = False

    async def should_retry(self, failed: CallFailed, key: str | None) -> bool:
        """Whether to retry, after a pause if one is due; `key`: the API key that was used."""
        error = failed.error
        if limited := is_rate_limit(error):
            # Each of the server's quotas has its own limiter here, and only that one slows down.
            if self._kind in LIST_LIMITED:
                self._calls.list_limiter.throttled()
            if self._kind != "list":
                self._calls.limiter.throttled()
        if limited and not is_overload(error) and (pause := next(self._pauses, None)):
            await asyncio.sleep(pause)
            return True
        if is_unreachable(error) and not self.was_unreachable and not self._is_stuck(failed):
            self.was_unreachable = True
            return True
        if error.status in NO_ACCESS and not self._key_was_renewed and self._key_has_changed(key):
            self._key_was_renewed = True
            return True
        return False

    def _is_stuck(self, failed: CallFailed) -> bool:
        """Whether the attempt hung and a second one is not worth the time."""
        if not failed.hung or self._kind == "namespace":
            return failed.hung
        answers = self._calls.answers
        others_answered = answers.answered_since(failed.attempted, self._namespace)
        return answers.is_wary(self._kind) and others_answered

    def _key_has_changed(self, key: str | None) -> bool:
        key_file = self._calls.key_file
        return key_file is not None and key_file.current(force=True) != key
