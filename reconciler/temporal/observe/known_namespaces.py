"""The namespaces that rows name: each is described when its first row is met, and then known.

What is known is forgotten as a pass begins, because a namespace may have been created again, with
another id, or its retention changed. Short passes share it for a minute.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from datetime import timedelta

from reconciler.core.model import Unknown
from reconciler.temporal.client.error_codes import NamespaceUnusable
from reconciler.temporal.client.namespace import Namespace
from reconciler.temporal.client.rpc import Rpc
from reconciler.temporal.observe.probe import TemporalProbe

#: Seconds for which a description of the configured namespace by the caller need not be repeated.
JUST_NOW = 5.0
#: Seconds for which short passes share what they know.
SHARED = 60.0


class KnownNamespaces:
    """A probe for each namespace, or why it cannot be used."""

    def __init__(
        self,
        rpc: Rpc,
        make: Callable[[Rpc], TemporalProbe],
        described: Namespace | None,
        *,
        short_passes: bool,
        clock: Callable[[], float],
    ) -> None:
        """`make`: makes a namespace's probe; the others as for `NamespacesProbe`."""
        self._rpc, self._make, self._clock = rpc, make, clock
        self._short_passes = short_passes
        self.configured = make(rpc)
        self.configured.namespace = self._just_described = described
        self._described_at = clock()
        self._others: dict[str, TemporalProbe | Unknown] = {}
        self._describing: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def shared_retention(self) -> timedelta | None:
        """That of the configured namespace, if a pass that begins now shares what is known."""
        namespace = self.configured.namespace
        if not self._short_passes or namespace is None:
            return None
        return namespace.retention if self._is_recent(SHARED) else None

    async def start_pass(self) -> timedelta:
        """Forget what is known; returns the configured namespace's retention as it is now.

        Raises `TemporalUnusable`.
        """
        self._others.clear()
        self._describing.clear()
        just_described, self._just_described = self._just_described, None
        if just_described and self._is_recent(JUST_NOW):
            return just_described.retention
        began = self._clock()
        retention = await self.configured.retention()
        self._described_at = began
        return retention

    def _is_recent(self, seconds: float) -> bool:
        return self._clock() - self._described_at < seconds

    async def probe_of(self, name: str) -> TemporalProbe | Unknown:
        """The probe of a namespace, which is described if it is not known."""
        if name == self._rpc.namespace:
            return self.configured
        async with self._describing[name]:
            if name not in self._others:
                self._others[name] = await self._describe(name)
        return self._others[name]

    async def _describe(self, name: str) -> TemporalProbe | Unknown:
        if name.strip() != name or not name.isprintable():
            return Unknown(f"the row's namespace {name!r} cannot be one")
        probe = self._make(self._rpc.in_namespace(name))
        try:
            await probe.retention()
        except NamespaceUnusable as error:
            return Unknown(str(error))
        return probe

    def give_up(self, name: str, why: NamespaceUnusable) -> Unknown:
        """Record that another namespace cannot be used any more: each refusal may take seconds."""
        self._others[name] = unknown = Unknown(str(why))
        return unknown

    def id_of(self, name: str) -> str:
        """Temporal's id of a known namespace; its name if it has none, or is not known."""
        namespace = self.described(name)
        return (namespace and namespace.id) or name

    def described(self, name: str) -> Namespace | None:
        """A namespace as it was described; None if it was not."""
        probe = self.configured if name == self._rpc.namespace else self._others.get(name)
        return probe.namespace if isinstance(probe, TemporalProbe) else None
