"""Reading a plan: as it was written, in memory that does not grow with it."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from reconciler.core.errors import Unusable
from reconciler.plan.format import MAX_LINE
from reconciler.plan.read import Plan
from tests.support.factories import finish, row
from tests.support.passes.plan_files import (
    HEADER,
    VERDICTS,
    finishes,
    make_plan,
    read_plan,
    refused,
)


def batches(plan: Plan, after_line: int = 0, size: int = 2) -> list[list[tuple[int, int]]]:
    return [
        [(line, int(str(found.outcome.row.id))) for line, found in batch]
        for batch in plan.batches(after_line, size)
    ]


class TestContent:
    def test_its_figures(self, path: Path) -> None:
        plan = read_plan(path)

        assert plan.header == HEADER
        assert (plan.rows, plan.finishes, plan.held_back) == (6, 3, 1)
        assert plan.last_finish == 6

    def test_the_rows_to_be_finished_as_they_were_decided(self, path: Path) -> None:
        (batch,) = read_plan(path).batches(0, 10)

        assert [found for _, found in batch] == [VERDICTS[1], VERDICTS[2], VERDICTS[4]]

    def test_in_batches_with_their_lines(self, path: Path) -> None:
        plan = read_plan(path)

        assert batches(plan) == [[(3, 2), (4, 3)], [(6, 5)]]
        assert batches(plan, size=3) == [[(3, 2), (4, 3), (6, 5)]]
        assert batches(plan, size=1) == [[(3, 2)], [(4, 3)], [(6, 5)]]

    @pytest.mark.parametrize(
        ("after_line", "expected"),
        [
            (1, [[(3, 2), (4, 3)], [(6, 5)]]),
            (2, [[(3, 2), (4, 3)], [(6, 5)]]),
            (3, [[(4, 3), (6, 5)]]),
            (4, [[(6, 5)]]),
            (5, [[(6, 5)]]),
            (6, []),
            (99, []),
        ],
    )
    def test_from_any_line_on(self, path: Path, after_line: int, expected: Any) -> None:
        assert batches(read_plan(path), after_line) == expected

    async def test_a_plan_without_rows(self, tmp_path: Path) -> None:
        plan = read_plan(await make_plan(tmp_path / "plan.jsonl", []))

        assert (plan.rows, plan.finishes, plan.last_finish) == (0, 0, 0)
        assert batches(plan) == []

    async def test_ids_as_the_table_has_them(self, tmp_path: Path) -> None:
        key = UUID("3f1e6e2a-8a53-4b53-9e55-5a1d2b0c9f10")
        path = await make_plan(tmp_path / "plan.jsonl", [finish(row(key))])

        ((found,),) = read_plan(path, read_id=lambda id_: UUID(str(id_))).batches(0, 10)

        assert found == (2, finish(row(key)))

    def test_the_namespace_is_checked_if_it_is_known(self, path: Path) -> None:
        assert read_plan(path, namespace="default").rows == 6


class TestChangedWhileItIsApplied:
    def test_by_one_more_line(self, path: Path) -> None:
        plan = read_plan(path)
        going = plan.batches(0, 1)
        next(going)
        made = path.stat().st_mtime_ns
        with path.open("ab") as file:
            file.write(b"{}\n")
        os.utime(path, ns=(made, made))  # as if within a tick of the file system's clock

        with pytest.raises(Unusable, match=f"^--plan {path}: was changed while it was being"):
            list(going)

    def test_to_something_else_of_the_same_length(self, path: Path) -> None:
        plan = read_plan(path)
        path.write_bytes(b"x" * path.stat().st_size)
        os.utime(path, ns=(0, 0))  # past the tick

        with pytest.raises(Unusable, match="was changed while it was being applied"):
            list(plan.batches(0, 10))

    def test_to_another_valid_plan(self, path: Path) -> None:
        plan = read_plan(path)
        content = path.read_bytes().replace(b'"completed"', b'"cancelled"')
        path.write_bytes(content)
        os.utime(path, ns=(0, 0))

        with pytest.raises(Unusable, match="was changed while it was being applied"):
            list(plan.batches(0, 10))

    def test_by_its_removal(self, path: Path) -> None:
        plan = read_plan(path)
        path.unlink()

        with pytest.raises(Unusable, match=f"^--plan {path}: cannot be read: No such file"):
            list(plan.batches(0, 10))


def peak(of: Callable[[], object]) -> int:
    """The most bytes of memory that this takes."""
    tracemalloc.start()
    try:
        of()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


async def test_memory_does_not_grow_with_the_plan(tmp_path: Path) -> None:
    short = await make_plan(tmp_path / "short.jsonl", finishes(*range(50)))
    long = await make_plan(tmp_path / "long.jsonl", finishes(*range(3000)))

    def read(path: Path) -> None:
        for _ in read_plan(path).batches(0, 20):
            pass

    read(short)  # what is loaded once
    assert peak(lambda: read(long)) < peak(lambda: read(short)) + 100_000 < long.stat().st_size


def test_memory_does_not_grow_with_a_line(path: Path) -> None:
    with path.open("ab") as file:
        file.truncate(200_000_000)

    assert peak(lambda: refused(path)) < 3 * MAX_LINE
