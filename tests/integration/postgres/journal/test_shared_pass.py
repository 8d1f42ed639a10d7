"""Two processes that run one pass over the same rows."""

from __future__ import annotations

from reconciler.core.report.pass_report import PassReport
from reconciler.core.report.request import PassRequest
from reconciler.postgres.journal.bookkeeping import Bookkeeping
from tests.conftest import Database
from tests.support.factories import NOW, outcome, row


async def test_a_row_that_the_same_pass_has_written_elsewhere_is_not_lost(
    database: Database,
) -> None:
    ids = [await database.insert("wf"), await database.insert("wf")]
    reports = [PassReport.begin(PassRequest("backfill"), NOW) for _ in range(2)]
    for report in reports:
        await database.history().begin(report)
    books, table = Bookkeeping(database.engine, journal=True), await database.table()
    one, other = [
        outcome(row(id_, workflow_id="wf", run_id=None), final_run_id="last") for id_ in ids
    ]
    elsewhere, store = (books.store(table, shared=True) for _ in range(2))
    await elsewhere.finish_if_running(reports[0].pass_id, [one])
    await elsewhere.finish_if_running(reports[1].pass_id, [other])

    written = await store.finish_if_running(reports[0].pass_id, [one, other])

    assert not written.ids
    assert written.untried == {one.row.id}, "the other one is lost to another pass"
