"""Observe rows of several namespaces over one connection, each in the namespace that it names.

The operator has configured one namespace: if it cannot be used, the pass ends. Others come from
rows: if one cannot be used, its rows are unknown, and the pass continues with the others.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from itertools import repeat

from reconciler.core.errors import TemporalUnusable
from reconciler.core.model import Closed, Missing, Observation, RunRow, Unasked, Unknown, Use
from reconciler.core.ports import Ending, Observing
from reconciler.host.steady_clock import steady
from reconciler.temporal.client.error_codes import NamespaceUnusable
from reconciler.temporal.client.namespace import Namespace
from reconciler.temporal.client.rpc import Rpc
from reconciler.temporal.failures.failure_decoder import FailureDecoder
from reconciler.temporal.failures.redactor import Redactor
from reconciler.temporal.observe.known_namespaces import KnownNamespaces
from reconciler.temporal.observe.probe import TemporalProbe
from reconciler.temporal.observe.uses import other_uses
from reconciler.temporal.observe.visibility import Visibility


class NamespacesProbe:
    """Implements `Probe` with a `TemporalProbe` for each namespace that rows name.

    A namespace is described once per pass, when its first row is met: it must exist, and its
    retention applies to its missing rows. Short passes describe it once a minute, and share also
    which namespaces and lists cannot be used.
    """

    def __init__(
        self,
        rpc: Rpc,
        *,
        ask_archive: bool = False,
        decoder: FailureDecoder | None = None,
        redactor: Redactor | None = None,
        described: Namespace | None = None,
        short_passes: bool = False,
        clock: Callable[[], float] = steady,
    ) -> None:
        """As for `TemporalProbe`. `redactor`: applied to every failure before anything sees it.

        `described`: the configured namespace, if just described; not asked for again at once.
        `short_passes`: whether many passes of a few rows are to come.
        """
        self._rpc = rpc
        self._redactor = redactor
        self._visibility = Visibility()
        self._probe = partial(
            TemporalProbe,
            ask_archive=ask_archive,
            decoder=decoder,
            visibility=self._visibility,
        )
        self._known = KnownNamespaces(
            rpc, self._probe, described, short_passes=short_passes, clock=clock
        )
        # Why visibility is not asked again in this pass, by namespace.
        self._no_lists: dict[str, Unknown] = {}

    @property
    def own_namespace(self) -> str:
        """The name of the configured one."""
        return self._rpc.namespace

    @property
    def namespace(self) -> Namespace | None:
        """The configured one, as last described; None before."""
        return self._known.configured.namespace

    async def retention(self) -> timedelta:
        """The configured namespace's retention as it is now. Raises `TemporalUnusable`.

        A pass begins with it, so what the last pass knew of the other namespaces is forgotten. With
        short passes, all this is at most a minute old.
        """
        shared = self._known.shared_retention()
        self._rpc.start_pass(still_wary=shared is not None)
        if shared is not None:
            return shared
        self._no_lists.clear()
        self._visibility.start_pass()
        return await self._known.start_pass()

    def namespace_id(self, row: RunRow) -> str:
        """Temporal's id of the namespace in which the row was observed; its name if it has none."""
        return self._known.id_of(row.namespace or self._rpc.namespace)

    def retention_of(self, row: RunRow) -> timedelta | None:
        """That of the row's namespace, as far as it is known."""
        namespace = self._known.described(row.namespace or self._rpc.namespace)
        return None if namespace is None else namespace.retention

    def rpcs(self) -> Mapping[str, int]:
        """The calls made so far, by kind, to all namespaces."""
        return self._rpc.counts

    async def screen(self, rows: Sequence[RunRow], saving: float = 1.0) -> Sequence[bool | None]:
        """Whether visibility shows each row's workflow as open; None if that is unknown.

        Makes one call or more per namespace, concurrently, and none where describing the rows is
        faster. Raises `TemporalUnusable` if the whole server is overloaded.
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
        unknown: Iterator[bool | None] = repeat(None)
        return [next(found.get(row.namespace or self._rpc.namespace, unknown)) for row in rows]

    async def _screen(
        self, name: str, rows: Sequence[RunRow], page_size: int
    ) -> Sequence[bool | None]:
        probe = await self._known.probe_of(name)
        if isinstance(probe, Unknown):
            return [None] * len(rows)
        return await self._visibility.screen(probe.rpc, rows, page_size)

    def together(self, rows: Sequence[RunRow]) -> Observing:
        """For rows that are asked about at the same time: those of one workflow id share answers.

        Rows whose id no other has keep none, which would take memory for nothing.
        """
        uses = Counter((row.namespace or self.own_namespace, row.workflow_id) for row in rows)
        several = frozenset(each for each, count in uses.items() if count > 1)
        return _Together(self, several) if several else self

    async def observe(self, row: RunRow) -> Observation:
        """What Temporal says about the row, in the namespace that it names.

        Raises `TemporalUnusable` if the problem is neither this row's nor such a namespace's.
        """
        return await self.observe_with(row, None)

    async def observe_with(
        self, row: RunRow, together: dict[str, TemporalProbe] | None
    ) -> Observation:
        """The same, with answers shared by namespace."""
        if row.unreadable is not None:
            return Unknown(row.unreadable)
        if not row.workflow_id:
            return Unasked()
        name = row.namespace or self._rpc.namespace
        probe = await self._known.probe_of(name)
        if isinstance(probe, Unknown):
            return probe
        try:
            if together is None:
                observed = await probe.observe(row)
            else:
                if name not in together:
                    together[name] = self._probe(probe.rpc.together())
                    together[name].namespace = probe.namespace
                observed = await together[name].observe(row)
            observed = await self._redacted(observed)
        except NamespaceUnusable as error:
            if probe is self._known.configured:
                raise
            return self._known.give_up(name, error)
        other = None if probe is self._known.configured else probe.namespace
        if other and isinstance(observed, Closed | Missing):
            return replace(observed, retention=other.retention)
        return observed

    async def other_uses(self, endings: Sequence[Ending]) -> Sequence[Sequence[Use] | Unknown]:
        """Other uses of these rows' workflow ids since the rows were created, by visibility.

        One call per namespace, if that can list them all. A namespace whose visibility cannot be
        used is not asked again in this pass.
        """
        by_namespace: defaultdict[str, list[int]] = defaultdict(list)
        for place, ending in enumerate(endings):
            by_namespace[ending.row.namespace or self._rpc.namespace].append(place)
        found: dict[int, Sequence[Use] | Unknown] = {}
        for name, places in by_namespace.items():
            answer = await self._other_uses(name, [endings[place] for place in places])
            answers = repeat(answer) if isinstance(answer, Unknown) else answer
            found.update(zip(places, answers, strict=False))
        return [found[place] for place in range(len(endings))]

    async def _other_uses(
        self, name: str, endings: Sequence[Ending]
    ) -> Sequence[Sequence[Use] | Unknown] | Unknown:
        probe = await self._known.probe_of(name)
        if isinstance(probe, Unknown):
            return probe
        if name not in self._no_lists:
            try:
                return await other_uses(probe.rpc, endings)
            except TemporalUnusable as error:
                self._no_lists[name] = Unknown(f"visibility: {error}")
        return self._no_lists[name]

    async def observe_current(self, workflow_id: str) -> Observation:
        """What Temporal says about the current run of an id in the configured namespace."""
        return await self._redacted(await self._known.configured.observe_current(workflow_id))

    async def _redacted(self, observed: Observation) -> Observation:
        if self._redactor and isinstance(observed, Closed) and observed.failure is not None:
            return replace(observed, failure=await self._redactor.hide(observed.failure))
        return observed

    async def describe(self, name: str) -> Namespace | Unknown:
        """A namespace that rows name, or why it cannot be used, as a pass would find it.

        Raises `TemporalUnusable` as `observe` does.
        """
        probe = await self._known.probe_of(name)
        if isinstance(probe, Unknown):
            return probe
        assert probe.namespace is not None  # noqa: S101 - described when it was met
        return probe.namespace


@dataclass(frozen=True, slots=True)
class _Together:
    """Rows of a page; those of the same workflow id share what Temporal answers."""

    probe: NamespacesProbe
    #: Namespaces and workflow ids that several rows name.
    several: frozenset[tuple[str, str]]
    _probes: dict[str, TemporalProbe] = field(default_factory=dict, init=False)

    async def observe(self, row: RunRow) -> Observation:
        """See `NamespacesProbe`."""
        shares = (row.namespace or self.probe.own_namespace, row.workflow_id) in self.several
        return await self.probe.observe_with(row, self._probes if shares else None)
