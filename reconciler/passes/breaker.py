"""The breaker: whether missing rows put the configuration in doubt, and so none of them is failed.

A wrong cluster, a wrong namespace and a restored database all look like missing rows. Of many rows,
their share shows it. Of few, one workflow that was found shows that the namespace is the right one:
in this pass, or in an earlier recorded one. A namespace is identified by Temporal's id: one that
was recreated under the same name is another, and knows none of the workflows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from reconciler.core.model import Closed, Finish, Observation, Open, RunRow, Verdict
from reconciler.core.policy import Policy
from reconciler.core.ports import Probe, Recording
from reconciler.core.report.pass_report import PassReport
from reconciler.passes.log import PassLog

#: Below this many rows the share of missing ones says nothing about the configuration.
MIN_ROWS = 20


def too_many_missing(missing: int, scanned: int, policy: Policy) -> bool:
    """Whether the share of missing rows is too large, among enough rows to judge it.

    `missing` counts rows that are never started, deleted or expired, not those that are too young.
    """
    return scanned >= MIN_ROWS and missing > policy.max_missing_ratio * scanned


@dataclass(slots=True)
class Breaker:
    """Decides for one pass; with a ratio of 1 it never trips."""

    probe: Probe
    history: Recording
    policy: Policy
    report: PassReport
    log: PassLog

    def note(
        self, observed: Iterable[tuple[RunRow, Observation]], verdicts: Iterable[Verdict]
    ) -> None:
        """Remember in which namespaces workflows were found, and rows are about to be failed."""
        for row, found in observed:
            if isinstance(found, Closed) or (isinstance(found, Open) and not found.screened):
                self.report.found_in.add(self.probe.namespace_id(row))
        for verdict in verdicts:
            if isinstance(verdict, Finish) and verdict.missing is not None:
                self.report.missing_in.add(self.probe.namespace_id(verdict.row))

    async def trips(self) -> bool:
        """Whether the rows set aside are left. Raises `Unusable`."""
        tally, progress = self.report.tally, self.report.progress
        missing = sum(spread.rows for spread in tally.missing.values())
        held_back = sum(span.failing.total() for span in progress.to_recheck) if progress else 0
        if too_many_missing(missing, tally.asked_about, self.policy):
            self.log.breaker(missing, tally.asked_about, held_back)
            return True
        few = tally.asked_about < MIN_ROWS and self.policy.max_missing_ratio < 1
        if not (few and held_back and await self._unproven()):
            return False
        self.log.unproven_namespace(tally.asked_about, held_back)
        return True

    async def _unproven(self) -> bool:
        """Whether no workflow was ever found in a namespace in which rows are to be failed."""
        unproven = self.report.missing_in - self.report.found_in
        return bool(unproven and unproven.difference(await self.history.found_in(unproven)))
