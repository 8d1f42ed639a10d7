"""The queries to visibility, and how its answers are read."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest
from temporalio.api.enums.v1 import WorkflowExecutionStatus as Status

from reconciler.core.model import Open, RunRow
from reconciler.temporal.client.execution_info import PAUSED
from reconciler.temporal.observe import visibility as visibility_module
from reconciler.temporal.observe.probe import TemporalProbe
from reconciler.temporal.observe.visibility import MAX_BYTES, MAX_IDS, Visibility
from tests.support.factories import NOW, row
from tests.support.temporal.stubs import rpc
from tests.support.temporal.visibility_stub import Service, run

HOUR = timedelta(hours=1)


async def screen(
    service: Service, *rows: RunRow, visibility: Visibility | None = None
) -> list[bool | None]:
    return await (visibility or Visibility()).screen(rpc(service), rows)


def of(workflow_id: str, run_id: str | None = "run-1", **fields: Any) -> RunRow:
    return row(1, workflow_id=workflow_id, run_id=run_id, **fields)


def named(ids: Iterable[str]) -> list[RunRow]:
    return [of(each) for each in ids]


class TestQuery:
    async def test_it_excludes_ended_workflows_by_names_that_every_server_knows(
        self,
    ) -> None:
        service = Service()

        await screen(service, of("order/17 é ☃"))

        (request,) = service.asked
        assert request.query == (
            "WorkflowId IN ('order/17 é ☃') AND ExecutionStatus NOT IN"
            " ('Completed', 'Failed', 'Canceled', 'Terminated', 'TimedOut', 'ContinuedAsNew')"
        )
        assert (request.namespace, request.page_size) == ("ns", 1000)

    async def test_an_id_of_several_rows_is_listed_once(self) -> None:
        service = Service(run("wf", "run-1"))

        assert await screen(service, of("wf"), of("wf", "run-0"), of("wf")) == [True, None, True]
        assert service.ids == [["wf"]]

    async def test_a_call_has_no_more_ids_than_every_store_looks_up_by_id(self) -> None:
        service = Service()
        ids = [f"wf-{number}" for number in range(2 * MAX_IDS + 1)]

        assert await screen(service, *named(ids)) == [False] * len(ids)
        assert MAX_IDS == 500, "PostgreSQL 15 reads all open workflows for 1000"
        assert sorted(map(len, service.ids)) == [1, MAX_IDS, MAX_IDS]
        assert sorted(each for some in service.ids for each in some) == sorted(ids)

    async def test_a_call_stays_far_below_the_size_limit_of_a_message(self) -> None:
        service = Service()
        ids = [f"{number:03}" + "é" * 997 for number in range(600)]

        assert await screen(service, *named(ids)) == [False] * len(ids)
        assert len(service.asked) == 3
        assert all(len(request.query.encode()) < MAX_BYTES + 200 for request in service.asked)
        assert sorted(each for some in service.ids for each in some) == ids

    @pytest.mark.parametrize(
        "odd",
        ["it's", 'a "quote"', "back\\slash", "line\nbreak", "\x7f", "nul\x00", "", "x" * 1001],
        ids=ascii,
    )
    async def test_an_id_that_stores_read_differently_is_not_listed(self, odd: str) -> None:
        service = Service(run(odd, "run-1"), run("plain", "run-1"))

        assert await screen(service, of(odd), of("plain")) == [None, True]
        assert service.ids == [["plain"]]

    async def test_without_listable_ids_there_is_no_call(self) -> None:
        service = Service()

        assert await screen(service, of("it's"), of("")) == [None, None]
        assert service.asked == []

    async def test_if_the_answer_has_more_pages_the_other_ids_are_unknown(self) -> None:
        service = Service(run("wf", "run-1"))
        service.more = b"more"

        assert await screen(service, of("wf"), of("another")) == [True, None]
        assert len(service.asked) == 1, "a description settles it"


class TestOwnChain:
    async def test_the_rows_own_run(self) -> None:
        assert await screen(Service(run("wf", "run-1")), of("wf")) == [True]

    async def test_another_run_of_its_id(self) -> None:
        """It may be another use of the id, or the row's chain continued."""
        assert await screen(Service(run("wf", "run-9")), of("wf")) == [None]

    async def test_the_rows_own_run_among_others(self) -> None:
        service = Service(run("wf", "run-9"), run("wf", "run-1"))

        assert await screen(service, of("wf")) == [True]

    @pytest.mark.parametrize(
        ("status", "shown"),
        [
            (PAUSED, True),
            (99, True),
            (Status.WORKFLOW_EXECUTION_STATUS_COMPLETED, False),
            (Status.WORKFLOW_EXECUTION_STATUS_TIMED_OUT, False),
            (Status.WORKFLOW_EXECUTION_STATUS_CONTINUED_AS_NEW, False),
        ],
    )
    async def test_a_listed_run_counts_if_it_is_open(self, status: int, *, shown: bool) -> None:
        assert await screen(Service(run("wf", "run-1", status)), of("wf")) == [shown]

    @pytest.mark.parametrize("run_id", [None, ""])
    async def test_without_a_run_id_the_row_is_left_while_its_id_is_in_use(
        self, run_id: str | None
    ) -> None:
        service = Service(run("wf", "run-9", started=NOW - 9 * HOUR))

        assert await screen(service, of("wf", run_id, age=HOUR)) == [True]

    async def test_without_a_run_id_and_a_creation_time_the_row_is_unknown(self) -> None:
        assert await screen(Service(run("wf", "run-9")), of("wf", None, age=None)) == [None]

    async def test_no_open_run_of_the_id(self) -> None:
        assert await screen(Service(), of("wf"), of("wf", None)) == [False, False]


class TestChains:
    """Visibility has the current run of a chain, a row its first; a description has both."""

    def probe(self, service: Service) -> tuple[TemporalProbe, Visibility]:
        visibility = Visibility()
        return TemporalProbe(rpc(service), visibility=visibility), visibility

    async def test_a_described_chain_is_recognised(self) -> None:
        probe, visibility = self.probe(Service(run("wf", "run-2", first="run-1")))
        assert await visibility.screen(probe.rpc, [of("wf")]) == [None]
        assert await probe.observe(of("wf")) == Open("RUNNING")

        shown = []
        for _ in range(4):
            visibility.start_pass()
            shown.append(await visibility.screen(probe.rpc, [of("wf")]))

        assert shown == [[True]] * 4, "as long as every pass sees it"

    async def test_in_the_same_pass_too(self) -> None:
        probe, visibility = self.probe(Service(run("wf", "run-2", first="run-1")))
        await probe.observe(of("wf"))

        assert await visibility.screen(probe.rpc, [of("wf")]) == [True]

    async def test_a_chain_that_has_continued_since_is_described_again(self) -> None:
        service = Service(run("wf", "run-2", first="run-1"))
        probe, visibility = self.probe(service)
        await probe.observe(of("wf"))
        service.runs[:] = [run("wf", "run-3", first="run-1")]
        visibility.start_pass()

        assert await visibility.screen(probe.rpc, [of("wf")]) == [None]
        await probe.observe(of("wf"))
        assert await visibility.screen(probe.rpc, [of("wf")]) == [True]

    async def test_a_chain_not_seen_in_a_whole_pass_is_forgotten(self) -> None:
        probe, visibility = self.probe(Service(run("wf", "run-2", first="run-1")))
        await probe.observe(of("wf"))
        visibility.start_pass()
        visibility.start_pass()

        assert await visibility.screen(probe.rpc, [of("wf")]) == [None]

    async def test_an_ended_chain_is_not_remembered(self) -> None:
        closed = Status.WORKFLOW_EXECUTION_STATUS_CONTINUED_AS_NEW
        service = Service(run("wf", "run-2", closed, first="run-1"))
        probe, visibility = self.probe(service)
        await probe.observe(of("wf"))
        service.runs[:] = [run("wf", "run-2", first="run-1")]

        assert await visibility.screen(probe.rpc, [of("wf")]) == [None]

    async def test_a_workflow_in_its_first_run_is_not_remembered(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(visibility_module, "MAX_CURRENT", 1)
        probe, visibility = self.probe(Service(run("a", "run-1"), run("b", "run-2", first="run-1")))
        await probe.observe(of("a"))
        await probe.observe(of("b"))

        assert await visibility.screen(probe.rpc, [of("b")]) == [True]

    async def test_the_number_of_remembered_chains_is_limited(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(visibility_module, "MAX_CURRENT", 2)
        rows = [of(f"wf-{number}", f"first-{number}") for number in range(3)]
        service = Service(*(run(each.workflow_id, "now", first=f"{each.run_id}") for each in rows))
        probe, visibility = self.probe(service)

        for each in rows:
            await probe.observe(each)
        visibility.start_pass()

        assert await visibility.screen(probe.rpc, rows) == [True, True, None]
