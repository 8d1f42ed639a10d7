"""Rows of several namespaces over one connection: each is asked about where it says it belongs.

The connection's own namespace is what the operator has set: if it cannot be used, nothing can be
relied on, and the pass ends. Another one is what a row says: if it cannot be used, its rows are
unknown, and the pass goes on with the others.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from itertools import repeat

from reconciler.core.model import Closed, Missing, Observation, RunRow, Unknown
from reconciler.temporal.client.error_codes import NamespaceUnusable
from reconciler.temporal.client.namespace import Namespace
from reconciler.temporal.client.rpc import Rpc
from reconciler.temporal.failures.failure_decoder import FailureDecoder
from reconciler.temporal.failures.redactor import Redactor
from reconciler.temporal.observe.probe import TemporalProbe
from reconciler.temporal.observe.visibility import Visibility


class NamespacesProbe:
    """Implements `Probe` with a `TemporalProbe` for each namespace that rows name.

    A namespace is described once per pass, when its first row is met: it must exist, and its
    retention judges its missing rows.
    """

    def __init__(
        self,
        rpc: Rpc,
        start_delay: timedelta,
        *,
        ask_archive: bool = False,
        decoder: FailureDecoder | None = None,
        redactor: Redactor | None = None,
    ) -> None:
        """As for `TemporalProbe`. `redactor`: nothing else sees a failure before it has."""
        self._rpc = rpc
        self._redactor = redactor
        self._visibility = Visibility(start_delay)
        self._probe = partial(
            TemporalProbe,
            start_delay=start_delay,
            ask_archive=ask_archive,
            decoder=decoder,
            visibility=self._visibility,
        )
        self._own = self._probe(rpc)
        self._others: dict[str, TemporalProbe | Unknown] = {}
        self._describing: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    @property
    def namespace(self) -> Namespace | None:
        """The connection's own, as it was described last; None before."""
        return self._own.namespace

    async def retention(self) -> timedelta:
        """That of the connection's namespace as it is now. Raises `TemporalUnusable`.

        A pass begins with it: what is known of the others is of the pass before.
        """
        self._others.clear()
        self._describing.clear()
        self._visibility.start_pass()
        self._rpc.start_pass()
        return await self._own.retention()

    def rpcs(self) -> Mapping[str, int]:
        """The calls made so far, by kind, to all namespaces."""
        return self._own.rpcs()

    async def screen(self, rows: Sequence[RunRow], saving: float = 1.0) -> Sequence[bool | None]:
        """Whether visibility shows each row's workflow as open; None where it cannot tell.

        One call or more per namespace, as many at once as the limits allow; none where describing
        the rows takes less. Raises `TemporalUnusable` as `TemporalProbe` does.
        """
        by_namespace: defaultdict[str, list[RunRow]] = defaultdict(list)
        for row in rows:
            by_namespace[row.namespace or self._rpc.namespace].append(row)
        names = self._visibility.worth_asking(self._rpc, by_namespace, saving)
        asking = [
            asyncio.create_task(self._screen(name, by_namespace[name], len(rows))) for name in names
        ]
        try:
            answers = await asyncio.gather(*asking)
        finally:
            for task in asking:
                task.cancel()
        found = {name: iter(each) for name, each in zip(names, answers, strict=True)}
        nothing: Iterator[bool | None] = repeat(None)
        return [next(found.get(row.namespace or self._rpc.namespace, nothing)) for row in rows]

    async def _screen(
        self, name: str, rows: Sequence[RunRow], page_size: int
    ) -> Sequence[bool | None]:
        probe = await self._probe_of(name)
        if isinstance(probe, Unknown):
            return [None] * len(rows)
        return await probe.screen(rows, page_size)

    async def observe(self, row: RunRow) -> Observation:
        """What Temporal says about the row, in the namespace that it names.

        Raises `TemporalUnusable` if it is neither about this row nor about such a namespace.
        """
        if row.unreadable is not None:
            return Unknown(row.unreadable)
        name = row.namespace or self._rpc.namespace
        probe = await self._probe_of(name)
        if isinstance(probe, Unknown):
            return probe
        try:
            observed = await self._redacted(await probe.observe(row))
        except NamespaceUnusable as error:
            if probe is self._own:
                raise
            # From here on no row of it is asked about: it may take seconds each time to be refused.
            self._others[name] = unknown = Unknown(str(error))
            return unknown
        if isinstance(observed, Closed | Missing) and probe is not self._own and probe.namespace:
            return replace(observed, retention=probe.namespace.retention)
        return observed

    async def observe_current(self, workflow_id: str) -> Observation:
        """What Temporal says about the current run of an id in the connection's namespace."""
        return await self._redacted(await self._own.observe_current(workflow_id))

    async def _redacted(self, observed: Observation) -> Observation:
        if self._redactor and isinstance(observed, Closed) and observed.failure is not None:
            return replace(observed, failure=await self._redactor.hide(observed.failure))
        return observed

    async def describe(self, name: str) -> Namespace | Unknown:
        """A namespace that rows name, as a pass finds it: one it cannot use makes them unknown.

        Raises `TemporalUnusable` as `observe` does.
        """
        probe = await self._probe_of(name)
        if isinstance(probe, Unknown):
            return probe
        assert probe.namespace is not None  # noqa: S101 - it was described when it was met
        return probe.namespace

    async def _probe_of(self, name: str) -> TemporalProbe | Unknown:
        if name == self._rpc.namespace:
            return self._own
        async with self._describing[name]:
            if name not in self._others:
                self._others[name] = await self._described(name)
        return self._others[name]

    async def _described(self, name: str) -> TemporalProbe | Unknown:
        if name.strip() != name or not name.isprintable():
            return Unknown(f"the row's namespace {name!r} cannot be one")
        probe = self._probe(self._rpc.in_namespace(name))
        try:
            await probe.retention()
        except NamespaceUnusable as error:
            return Unknown(str(error))
        return probe
