"""With any limits, a pass in pieces ends like a single pass, and writes each row once.

Between the pieces there is nothing but JSON, as between two processes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from reconciler.core.model import CloseStatus, Missing, Observation, Open, Outcome, RunRow, Unknown
from reconciler.core.policy import MissingPolicy, Policy
from reconciler.core.ports import Written
from reconciler.core.report.pass_report import PassReport
from tests.support.factories import closed, policy, row
from tests.support.fakes import MemoryStore, ScriptedProbe
from tests.support.passes.bench import accounted_for, reconcile, recorded, resumable, resumed
from tests.support.properties import examples

#: The kinds of rows in a table: their age, and what Temporal says about them.
KINDS: dict[str, tuple[timedelta, Observation]] = {
    "open": (timedelta(hours=1), Open()),
    "completed": (timedelta(hours=1), closed()),
    "failed": (timedelta(hours=1), closed(CloseStatus.FAILED)),
    "missing": (timedelta(hours=1), Missing()),
    "expired": (timedelta(days=2), Missing()),
    "in use": (timedelta(hours=1), Missing(id_in_use=True)),
    "young": (timedelta(seconds=1), Missing()),
    "unknown": (timedelta(hours=1), Unknown("busy")),
    "refused": (timedelta(hours=1), closed()),
    "refused when missing": (timedelta(hours=1), Missing()),
}
# Short tables are what shrinks well; the breaker needs at least 20 rows.
TABLES = st.lists(st.sampled_from(list(KINDS)), max_size=12) | st.lists(
    st.sampled_from(["missing", "expired", "completed", "open"]), min_size=18, max_size=30
)


@dataclass
class Table:
    """A table, and a Temporal that says the same whenever it is asked."""

    kinds: Sequence[str]
    known: Mapping[str, tuple[timedelta, Observation]] = field(default_factory=lambda: KINDS)

    def __post_init__(self) -> None:
        known = [(id_, *self.known[kind]) for id_, kind in enumerate(self.kinds, start=1)]
        aged = [row(id_, age=age) for id_, age, _ in known]
        self.store = Counting(aged)
        refused = [id_ for id_, kind in enumerate(self.kinds, start=1) if "refused" in kind]
        self.store.refused = dict.fromkeys(refused, "trigger says no")
        self.probe = ScriptedProbe({f"wf-{id_}": answer for id_, _, answer in known})


class Counting(MemoryStore):
    """Notes how often each row was written."""

    def __init__(self, rows: Sequence[RunRow]) -> None:
        super().__init__(rows)
        self.times: Counter[object] = Counter()

    async def finish_if_running(self, pass_id: str, outcomes: Sequence[Outcome]) -> Written:
        written = await super().finish_if_running(pass_id, outcomes)
        self.times.update(written.ids)
        return written


def through_json(report: PassReport) -> PassReport:
    """What another process makes of what this one has recorded."""
    return resumed(recorded(report), report.tally.written)


def counts(report: PassReport) -> dict[str, Any]:
    tally = asdict(report.tally) | {"oldest_left": None}
    tally |= {"written": +report.tally.written, "left": +report.tally.left}
    return tally | {"error": report.error, "held_back": report.held_back}


async def in_pieces(table: Table, rules: Policy, **limits: Any) -> PassReport:
    """The same command again and again, until nothing is left to do."""
    begun = resumable()
    for _ in range(100):
        report = await reconcile(table.store, table.probe, rules, report=begun, **limits)
        if not report.more_left:
            return report
        begun = through_json(report)
    raise AssertionError("it does not come to an end")


@examples(200)
@given(
    kinds=TABLES,
    batch_size=st.integers(1, 7),
    limit=st.none() | st.integers(1, 9),
    max_changes=st.none() | st.integers(1, 5),
    missing=st.sampled_from(MissingPolicy),
)
@example(["missing"] * 24, 5, 8, None, MissingPolicy.FAIL)  # too few in a piece to trip the breaker
@example(["missing"] * 18 + ["open"] * 18, 4, 20, 3, MissingPolicy.FAIL)  # too many in the first
@example(["refused", "completed", "completed"], 3, None, 1, MissingPolicy.LEAVE)  # room is left
@example(
    ["refused when missing", "missing", "missing"], 3, None, 1, MissingPolicy.FAIL
)  # there too
async def test_a_pass_in_pieces_ends_like_a_single_pass(
    kinds: Sequence[str],
    batch_size: int,
    limit: int | None,
    max_changes: int | None,
    missing: MissingPolicy,
) -> None:
    rules, at_once, piecewise = policy(missing=missing), Table(kinds), Table(kinds)
    limits = {"batch_size": batch_size, "limit": limit, "max_changes": max_changes}

    with capture_logs():
        whole = await reconcile(at_once.store, at_once.probe, rules, batch_size=batch_size)
        last = await in_pieces(piecewise, rules, **limits)

    assert piecewise.store.finished == at_once.store.finished
    assert set(piecewise.store.times.values()) <= {1}, "written more than once"
    assert counts(last) == counts(whole)
    assert last.tally.scanned == accounted_for(last) == len(kinds)
