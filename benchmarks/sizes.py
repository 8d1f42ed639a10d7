"""How much is measured, in full and by `--quick`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sizes:
    """Numbers of rows and repetitions."""

    #: How often each measurement and what it is compared with are repeated, in turn.
    rounds: int
    #: Rows of closed workflows: for `once` and the backfill, and for the naive loop.
    closed: int
    naive: int
    #: Rows of open workflows: without rate limits, and with the default ones.
    open: int
    limited: int
    #: Batches of 500 written.
    batches: int
    #: Rows finished by the main path, one at a time.
    main_path: int
    #: Workflows with the plugin, and as many without.
    held: int
    #: Rows of the tables for growth: on the real servers, and with a scripted Temporal.
    growth: tuple[int, ...]
    scripted: tuple[int, int]
    #: The feed: rows of the tables in which nothing closes, and seconds of watching them.
    quiet: tuple[int, ...]
    quiet_seconds: int
    #: Workflows for each kind of end.
    endings: int
    #: Seconds with 250 closings each.
    load_seconds: int
    #: Closings that no process has followed.
    missed: int
    #: Rows, and changes in the journal, behind the page.
    overview: int
    #: Seconds in which a workflow of each target closes every two.
    targets_seconds: int
    #: Distributed backfills: repetitions, rows for each worker, rows of a scripted Temporal.
    fleet_rounds: int
    fleet_rows: int
    fleet_scripted: int


FULL = Sizes(
    rounds=5,
    closed=2_000,
    naive=300,
    open=10_000,
    limited=2_000,
    batches=40,
    main_path=500,
    held=300,
    growth=(1_000, 10_000, 100_000),
    scripted=(10_000, 1_000_000),
    quiet=(1_000, 100_000, 1_000_000),
    quiet_seconds=25,
    endings=20,
    load_seconds=10,
    missed=10_000,
    overview=1_000_000,
    targets_seconds=90,
    fleet_rounds=3,
    fleet_rows=1_800,
    fleet_scripted=2_000_000,
)
QUICK = Sizes(
    rounds=3,
    closed=600,
    naive=100,
    open=2_000,
    limited=400,
    batches=20,
    main_path=200,
    held=50,
    growth=(1_000, 5_000),
    scripted=(10_000, 100_000),
    quiet=(1_000, 100_000),
    quiet_seconds=10,
    endings=4,
    load_seconds=5,
    missed=2_000,
    overview=100_000,
    targets_seconds=20,
    fleet_rounds=1,
    fleet_rows=600,
    fleet_scripted=200_000,
)
