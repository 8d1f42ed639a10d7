"""What several scenarios need: closed workflows, and how fast they can be described."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.ceiling import Ceiling, find_ceiling
from benchmarks.sizes import Sizes
from benchmarks.stage import Stage
from benchmarks.workflows import Run, make_closed


@dataclass(frozen=True, slots=True)
class Prepared:
    """The servers and their closed workflows."""

    stage: Stage
    sizes: Sizes
    completed: Sequence[Run]
    #: Every second of these has failed.
    half_failed: Sequence[Run]
    ceiling: Ceiling


async def prepare(stage: Stage, sizes: Sizes) -> Prepared:
    """Make the workflows, and find the ceiling with them."""
    client = stage.temporal
    completed = await make_closed(client, sizes.closed)
    failed = await make_closed(client, sizes.closed // 2, fails=True)
    half_failed = [run for pair in zip(completed, failed, strict=False) for run in pair]
    ceiling = await find_ceiling(client, completed[:1000], rounds=3)
    return Prepared(stage, sizes, completed, half_failed, ceiling)
