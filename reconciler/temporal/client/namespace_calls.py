"""Calls about one namespace, and what it means that one is refused or not answered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest, DescribeNamespaceResponse
from temporalio.client import Client

from reconciler.core.errors import TemporalUnusable
from reconciler.core.text import one_line
from reconciler.temporal.client.answers import MAX_UNANSWERED
from reconciler.temporal.client.calls import Calls, Refused
from reconciler.temporal.client.connect_errors import Route
from reconciler.temporal.client.error_codes import (
    NO_ACCESS,
    NamespaceUnusable,
    NotNow,
    RowError,
    is_away,
    is_overload,
    is_rate_limit,
    meaning,
)

_Response = TypeVar("_Response")


class NamespaceCalls:
    """Makes calls about a namespace, which is the connection's own or that of a row."""

    def __init__(self, client: Client, calls: Calls, own: NamespaceCalls | None, name: str) -> None:
        """`own`: the calls about the connection's namespace, if this is another one."""
        self.client = client
        #: The namespace that the calls are about.
        self.namespace = name
        self._service = client.workflow_service
        config = client.service_client.config
        self._route = Route(config.target_host, config.http_connect_proxy_config)
        self._calls, self._own = calls, own

    async def describe_namespace(self) -> DescribeNamespaceResponse:
        """The namespace itself: proves that it exists, and gives retention and capabilities.

        Raises `NamespaceUnusable`, or another `TemporalUnusable` if it is not about the namespace.
        """
        method = self._service.describe_namespace
        request = DescribeNamespaceRequest(namespace=self.namespace)
        cannot = f"Temporal cannot describe namespace {self.namespace!r}"
        try:
            answer = await self._calls.call("namespace", method, request)
        except Refused as refused:
            meant = self._meaning(refused)
            if self._own is not None and is_away(refused.error):
                await self._own.confirm(refused.tried)
                meant = NamespaceUnusable(f"{cannot}: {_words(refused)}")
            elif isinstance(meant, RowError):
                meant = NamespaceUnusable(f"{cannot}: {meant}")
            raise meant from refused.error
        if answer.namespace_info.name != self.namespace:
            raise NamespaceUnusable(
                f"Temporal at {self._route} was asked about namespace {self.namespace!r}, and "
                f"answered about {answer.namespace_info.name!r}",
                "check TEMPORAL_ADDRESS",
            )
        return answer

    async def confirm(self, since: float) -> None:
        """Return if Temporal has answered about this namespace after `since`, or does now.

        Raises `TemporalUnusable`.
        """
        await self._calls.answers.confirm(self.namespace, since, self.describe_namespace)

    async def _call(
        self,
        kind: str,
        method: Callable[..., Awaitable[_Response]],
        request: Any,
        metadata: Mapping[str, str | bytes] | None = None,
        *,
        patient: bool = False,
    ) -> _Response:
        """A call about a workflow, or several.

        Raises `RowError` for what concerns this call only. That includes silence and refusals while
        Temporal answers others, unless that goes on for too many calls in a row.
        """
        try:
            return await self._calls.call(kind, method, request, metadata, patient=patient)
        except Refused as refused:
            error = self._meaning(refused)
            if isinstance(error, RowError):
                self._calls.answers.answered(kind, self.namespace)
            elif await self._others_are_answered(refused):
                error = self._without_answer(kind, refused, error)
            raise error from refused.error

    def _meaning(self, refused: Refused) -> Exception:
        named_by = "TEMPORAL_NAMESPACE" if self._own is None else "the right one in the row"
        return meaning(refused.error, self._route, self.namespace, named_by)

    async def _others_are_answered(self, refused: Refused) -> bool:
        """Whether Temporal does for others what it refused. Raises `TemporalUnusable`.

        A server that does not describe its namespace either is away. Access can be denied, and a
        rate limited, for some workflows alone (an authorizer sees the request, a shard has limits
        of its own): then others were answered meanwhile.
        """
        answers, error = self._calls.answers, refused.error
        if is_away(error):
            await self.confirm(refused.tried)
            return True
        if error.status in NO_ACCESS:
            await self.confirm(answers.clock())  # who was answered before may be denied now
        elif not is_rate_limit(error) or is_overload(error):
            return False
        return answers.answered_since(refused.began, self.namespace)

    def _without_answer(self, kind: str, refused: Refused, error: Exception) -> Exception:
        if not self._calls.answers.unanswered(kind, hung=refused.hung):
            return NotNow(f"{_words(refused)} (Temporal answers other calls)")
        if not is_away(refused.error):
            return error
        return TemporalUnusable(
            f"Temporal at {self._route} answers, but not about workflows: {MAX_UNANSWERED} rows in "
            f"a row got no answer ({_words(refused)})",
            "check its history service",
        )


def _words(refused: Refused) -> str:
    return f"{refused.error.status.name.lower()}: {one_line(refused.error.message, 300)}"
