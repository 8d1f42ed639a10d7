"""Writing what a plan says, and nothing that has changed since."""

from __future__ import annotations

from pathlib import Path

from structlog.testing import capture_logs

from reconciler.core.report.pass_report import PassOutcome
from reconciler.plan.read import Plan
from tests.support.factories import finish, outcome, row
from tests.support.fakes import MemoryStore
from tests.support.passes.applying import Pages, apply, table
from tests.support.passes.plan_files import finishes, leaves, make_plan, read_plan


async def test_rows_are_finished_as_the_plan_says_and_no_others(plan: Plan) -> None:
    store = table(*range(1, 9))

    report = await apply(store, plan)

    assert store.finished == {number: outcome(row(number)) for number in (2, 3, 5, 6)}
    assert report.tally.written == {"completed": 4}
    assert (report.tally.scanned, report.tally.lost_races, report.tally.left) == (4, 0, {})
    assert (report.outcome, report.more_left) == (PassOutcome.OK, False)


async def test_a_row_that_is_no_longer_running_is_a_lost_race(plan: Plan) -> None:
    store = table(1, 2, 6)

    report = await apply(store, plan)

    assert sorted(map(str, store.finished)) == ["2", "6"]
    assert (report.tally.scanned, report.changed, report.tally.lost_races) == (4, 2, 2)
    assert report.outcome is PassOutcome.OK


async def test_a_row_that_is_about_another_run_by_now_is_a_lost_race(plan: Plan) -> None:
    store = MemoryStore([row(2, run_id="run-new"), row(3, workflow_id="wf-new")])

    report = await apply(store, plan)

    assert not store.finished
    assert report.tally.lost_races == 4


async def test_a_row_the_database_refuses_harms_no_other(plan: Plan) -> None:
    store = table(*range(1, 9))
    store.refused = {3: "trigger says no"}

    report = await apply(store, plan)

    assert (report.changed, report.unknown) == (3, 1)
    assert report.outcome is PassOutcome.UNRESOLVED


async def test_a_plan_without_rows_to_finish_ends_at_once(tmp_path: Path) -> None:
    recorder = Pages()
    plan = read_plan(await make_plan(tmp_path / "plan.jsonl", leaves(1, 2)))

    report = await apply(table(1, 2), plan, recorder)

    assert (report.tally.scanned, report.outcome) == (0, PassOutcome.OK)
    assert recorder.started == recorder.ended == [report]
    assert recorder.pages == []


async def test_observers_are_notified_of_everything(plan: Plan) -> None:
    store, recorder = table(2, 5, 6), Pages()

    report = await apply(store, plan, recorder, batch_size=3)

    assert recorder.started == recorder.ended == [report]
    assert [written.row.id for written in recorder.written] == [2, 5, 6]
    assert recorder.pages == [[2, 3, 5], [6]]


async def test_after_each_batch_it_is_known_where_to_resume(plan: Plan) -> None:
    recorder = Pages()

    await apply(table(*range(1, 9)), plan, recorder, batch_size=1)

    assert [(rest.after, rest.until) if rest else None for rest in recorder.rest] == [
        (3, 7),
        (4, 7),
        (6, 7),
        None,
    ]


async def test_observers_are_notified_of_a_batch_after_its_write(plan: Plan) -> None:
    store, seen = table(*range(1, 9)), []
    recorder = Pages(after_page=lambda: seen.append(len(store.finished)))

    await apply(store, plan, recorder, batch_size=2)

    assert seen == [2, 4]


async def test_a_pass_that_changed_something_has_a_log_line(plan: Plan) -> None:
    with capture_logs() as lines:
        report = await apply(table(2), plan)

    (line,) = [line for line in lines if line["event"] == "pass_finished"]
    assert (line["log_level"], line["pass_id"]) == ("info", report.pass_id)


async def test_a_plan_made_before_there_was_anything_to_redact_is_redacted(tmp_path: Path) -> None:
    verdict = finish(row(2), status="failed", error_message="Refused: ada@x.org")
    plan = read_plan(await make_plan(tmp_path / "plan.jsonl", [verdict, *finishes(3)]))
    store = table(2, 3)

    async def redact(text: str) -> str:
        return text.replace("ada@x.org", "[redacted]")

    await apply(store, plan, redact=redact)

    assert store.finished[2].error_message == "Refused: [redacted]"
    assert store.finished[3].error_message is None
