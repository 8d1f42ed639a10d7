"""A backfill of thousands of rows in a real table; only Temporal is faked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import structlog

from reconciler.core.model import Closed, CloseStatus, Missing, Observation, Open, RunRow
from reconciler.core.policy import MissingPolicy
from reconciler.core.report.pass_report import PassReport
from reconciler.core.report.request import PassOptions, PassRequest
from reconciler.core.window import Window
from reconciler.passes.log import PassLog
from reconciler.passes.reconcile import run_pass
from reconciler.postgres.rows.store import PostgresStore
from tests.conftest import Database
from tests.support.factories import RETENTION, policy
from tests.support.fakes import ScriptedProbe

ROWS = 20_000
NOW = datetime.now(UTC)
END = NOW - timedelta(days=100)


def answer(row: RunRow) -> Observation:
    """Of ten rows, four completed, two failed, one is open, three are missing."""
    match int(str(row.id)) % 10:
        case 0 | 1 | 2 | 3:
            return Closed(CloseStatus.COMPLETED, END, "run-last")
        case 4 | 5:
            return Closed(CloseStatus.FAILED, END, "run-last", f"OrderFailed: {row.workflow_id}")
        case 6:
            return Open()
        case _:
            return Missing()


class Probe(ScriptedProbe):
    async def observe(self, row: RunRow) -> Observation:
        return answer(row)


@pytest.fixture
def few_lines() -> Iterator[None]:
    """Drop the debug line per row, as the command does; it would take a third of the time."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("info"))
    yield
    structlog.reset_defaults()


@pytest.mark.long
@pytest.mark.usefixtures("few_lines")
async def test_every_row_is_as_temporal_says_and_journalled_once(database: Database) -> None:
    """In pieces, as an operator would do it."""
    await database.execute(
        "INSERT INTO workflow_executions (workflow_id, run_id, created_at)"
        " SELECT 'order-' || n, gen_random_uuid(), now() - interval '1 year'"
        f" FROM generate_series(1, {ROWS}) n"
    )
    options = PassOptions(max_changes=ROWS // 3)
    request = PassRequest("backfill", asked={"since": None})
    table, history = await database.table(), database.history()
    store = PostgresStore(database.engine, table, Window(until=NOW))
    rules = policy(missing=MissingPolicy.FAIL, retention=RETENTION)

    pieces = 0
    resumed = PassReport.begin(request, NOW)
    while pieces == 0 or resumed.more_left:
        log = PassLog(each_row=False)
        resumed = await run_pass(store, Probe({}), history, [], rules, options, NOW, resumed, log)
        assert resumed.error is None
        pieces += 1
        resumed = await history.resume(request, table.read_id) or resumed

    assert pieces == 3
    assert resumed.tally.written == {"completed": ROWS * 0.4, "failed": ROWS * 0.5}
    assert resumed.tally.left == {"open": ROWS * 0.1}
    rows = await database.fetch("SELECT * FROM workflow_executions")
    assert Counter(map(as_expected, rows)) == {True: ROWS}
    journal = await database.fetch(
        "SELECT count(*) AS changes, count(DISTINCT row_id) AS rows FROM reconciler.changes"
    )
    assert journal == [{"changes": ROWS * 9 // 10, "rows": ROWS * 9 // 10}]


def as_expected(row: dict[str, object]) -> bool:
    """Whether a row matches the answer about it."""
    seen = (row["status"], row["completed_at"], row["error_message"])
    match answer(RunRow(int(str(row["id"])), str(row["workflow_id"]), None, None)):
        case Closed(CloseStatus.COMPLETED):
            return seen == ("completed", END, None)
        case Closed():
            return seen == ("failed", END, f"OrderFailed: {row['workflow_id']}")
        case Missing():
            return seen == ("failed", None, "outcome unknown: past Temporal's retention")
        case _:
            return seen == ("running", None, None)
