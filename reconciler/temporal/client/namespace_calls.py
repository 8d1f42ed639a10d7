"""Calls about one namespace, and what it means if one is refused or not answered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client

from reconciler.core.errors import TemporalUnusable
from reconciler.temporal.client.answers import MAX_UNANSWERED
from reconciler.temporal.client.calls import CallFailed, Calls
from reconciler.temporal.client.connect_errors import Endpoint
from reconciler.temporal.client.error_codes import (
    NO_ACCESS,
    Denied,
    NamespaceUnusable,
    NotNow,
    RowError,
    classify,
    is_overload,
    is_rate_limit,
    is_unreachable,
)
from reconciler.temporal.client.namespace import Namespace

# What to lower if calls of a kind are throttled.
_LIMITS = {
    "list": "RECONCILER_VISIBILITY_RPS",
    "queue": "RECONCILER_VISIBILITY_RPS or RECONCILER_MAX_RPS",
}

_Response = TypeVar("_Response")


class NamespaceCalls:
    """Makes calls about a namespace: the connection's configured one, or one that a row names."""

    def __init__(self, client: Client, calls: Calls) -> None:
        self.client = client
        #: The namespace that the calls are about.
        self.namespace = client.namespace
        self._service = client.workflow_service
        config = client.service_client.config
        self._endpoint = Endpoint(config.target_host, config.http_connect_proxy_config)
        self._calls = calls
        #: The calls about the configured namespace, if this is another one.
        self._configured: NamespaceCalls | None = None

    async def describe_namespace(self) -> Namespace:
        """The namespace as it is now.

        Raises `NamespaceUnusable`, or another `TemporalUnusable` if it is not about the namespace.
        """
        request = DescribeNamespaceRequest(namespace=self.namespace)
        method = partial(self._service.describe_namespace, request)
        try:
            answer = await self._calls.call("namespace", self.namespace, method)
        except CallFailed as failed:
            error = self._classify(failed)
            if self._configured is not None and is_unreachable(failed.error):
                await self._configured.confirm(failed.attempted)
                error = RowError(str(failed))
            if isinstance(error, RowError):
                error = NamespaceUnusable(
                    f"Temporal cannot describe namespace {self.namespace!r}: {error}"
                )
            raise error from failed.error
        if answer.namespace_info.name != self.namespace:
            raise NamespaceUnusable(
                f"Temporal at {self._endpoint} was asked about namespace {self.namespace!r}, and "
                f"answered about {answer.namespace_info.name!r}",
                "check TEMPORAL_ADDRESS",
            )
        return Namespace.of(answer)

    async def confirm(self, since: float) -> None:
        """Return if Temporal has answered about this namespace after `since`, or does now.

        Raises `TemporalUnusable`.
        """
        await self._calls.answers.confirm(self.namespace, since, self.describe_namespace)

    async def _call(
        self, kind: str, method: Callable[..., Awaitable[_Response]], *, patient: bool = False
    ) -> _Response:
        """A call about one workflow or several; arguments as for `Calls.call`.

        Raises `RowError` if the failure concerns this call only. That includes silence and
        refusals while Temporal answers others, unless too many calls in a row fail.
        """
        try:
            return await self._calls.call(kind, self.namespace, method, patient=patient)
        except CallFailed as failed:
            if kind == "queue" and failed.error.status in NO_ACCESS:
                raise Denied(str(failed)) from failed.error
            error = self._classify(failed)
            if isinstance(error, RowError):
                self._calls.answers.answered(kind, self.namespace)
            elif await self._others_are_answered(failed):
                error = self._without_answer(kind, failed, error)
            raise error from failed.error

    def _classify(self, failed: CallFailed) -> Exception:
        named_by = "the right one in the row" if self._configured else "TEMPORAL_NAMESPACE"
        limit = _LIMITS.get(failed.kind, "RECONCILER_MAX_RPS")
        return classify(failed.error, self._endpoint, self.namespace, named_by, limit)

    async def _others_are_answered(self, failed: CallFailed) -> bool:
        """Whether Temporal answers others where this call failed. Raises `TemporalUnusable`.

        A server that does not describe its namespace either is unreachable. Access may be denied,
        or the rate limited, for some workflows only (an authorizer sees the request, a shard has
        its own limits): then others were answered in the meantime.
        """
        answers, error = self._calls.answers, failed.error
        if is_unreachable(error):
            await self.confirm(failed.attempted)
            return True
        if error.status in NO_ACCESS:
            await self.confirm(answers.clock())  # earlier answers may have been before the denial
        elif not is_rate_limit(error) or is_overload(error):
            return False
        return answers.answered_since(failed.began, self.namespace)

    def _without_answer(self, kind: str, failed: CallFailed, error: Exception) -> Exception:
        if not self._calls.answers.unanswered(kind, hung=failed.hung):
            return NotNow(f"{failed} (Temporal answers other calls)")
        if not is_unreachable(failed.error):
            return error
        return TemporalUnusable(
            f"Temporal at {self._endpoint} answers, but not about workflows: {MAX_UNANSWERED} rows "
            f"in a row got no answer ({failed})",
            "check its history service",
        )
