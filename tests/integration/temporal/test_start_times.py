"""When the workflows of rows have started, by Temporal's clock."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.core.errors import TemporalUnusable
from reconciler.temporal.client.execution_info import to_datetime
from reconciler.temporal.client.server import describe_rows, start_times
from tests.support.temporal.world import World


async def test_the_start_time_is_that_of_the_rows_own_run(world: World) -> None:
    first = await world.start("wait")
    await first.terminate("end")
    second = await world.start("wait")
    rows = [replace(world.row(handle), id=id_) for id_, handle in enumerate((first, second))]

    times = start_times(await describe_rows(world.rpc, rows))

    assert first.first_execution_run_id is not None
    started = (await world.describe(first.first_execution_run_id)).workflow_execution_info
    assert times[rows[0]] == to_datetime(started.start_time)
    assert times[rows[0]] < times[rows[1]]


async def test_rows_that_temporal_does_not_know_are_left_out(world: World) -> None:
    row = world.row(await world.start("wait"))
    unknown, odd = replace(row, workflow_id="never existed"), replace(row, run_id="no run id")

    assert list(await describe_rows(world.rpc, [unknown, row, odd])) == [row]


async def test_a_row_is_described_in_the_namespace_that_it_names(world: World) -> None:
    row = world.row(await world.start("wait"))
    named = [replace(row, id=name, namespace=name) for name in ("default", "temporal-system", "no")]

    assert list(await describe_rows(world.rpc, named)) == named[:1]


async def test_a_missing_configured_namespace_is_an_error(world: World) -> None:
    row = world.row(await world.start("wait"))

    with pytest.raises(TemporalUnusable, match="no namespace 'nowhere'"):
        await describe_rows(world.rpc.in_namespace("nowhere"), [row])
