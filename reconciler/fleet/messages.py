"""The messages between the workflow, its activities and the command.

Part of the histories of running workflows: only add fields, with defaults. Never a secret: anyone
who may see the workflow reads them in Temporal's UI. Keys of rows are as in the `passes` table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

WORKFLOW = "BackfillWorkflow"
#: The query that returns a `FleetProgress`.
PROGRESS = "progress"
#: The default of the setting.
TASK_QUEUE = "reconciler"
#: Running rows in a range, about; and ranges of a run before it continues as new.
RANGE_ROWS = 10_000
RANGES_PER_RUN = 200

#: A key of a row: a number, or text.
Key: TypeAlias = int | str


@dataclass(frozen=True, slots=True)
class Previewed:
    """What the operator saw and agreed to. A worker that differs from it refuses the work."""

    #: Of the target; empty without targets.
    target: str
    #: The table and what selects its rows, `MappedTable.scope`; and the namespace.
    table: str
    namespace: str
    #: What identifies the database, whatever its address.
    database: str
    #: `TableSettings.mapping_as_json`.
    mapping: Mapping[str, Any]
    #: The parts of the policy that are settings, as JSON.
    policy: Mapping[str, Any]
    #: A digest of what decides about failure texts besides: redaction and decoding.
    texts: str
    #: The bounds of the window, ISO 8601; and the workflow type.
    since: str | None = None
    until: str | None = None
    workflow_type: str | None = None


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast the whole fleet works, and in how many pieces."""

    #: Ranges at a time, in all workers together.
    workers: int
    #: Calls to Temporal per second of the whole fleet; 0: no limit. And list calls.
    max_rps: float
    visibility_rps: float
    batch_size: int
    #: Rows that one range asks about at the same time.
    concurrency: int
    range_rows: int = RANGE_ROWS
    ranges_per_run: int = RANGES_PER_RUN


@dataclass(frozen=True, slots=True)
class Range:
    """The rows with `after` < key <= `until`; None: from the beginning."""

    after: Key | None
    until: Key


@dataclass(frozen=True, slots=True)
class Counts:
    """What was counted in some ranges; also the totals of all of them."""

    #: A `Tally` of rows that are done, as JSON.
    done: Mapping[str, Any]
    #: Spans whose missing rows the policy would fail, as `checkpoint.to_json` has them.
    to_recheck: Sequence[Mapping[str, Any]] = ()
    rpcs: Mapping[str, int] = field(default_factory=dict)
    #: Ids of namespaces: see `PassReport`.
    found_in: Sequence[str] = ()
    missing_in: Sequence[str] = ()
    disagreements: int = 0
    ranges: int = 0


@dataclass(frozen=True, slots=True)
class State:
    """Where a run of the workflow takes over from the one before."""

    #: When the backfill began, by the database's clock, ISO 8601: the `now` of every range.
    started_at: str
    #: The last key of the backfill; None: no row is running.
    last: Key | None
    #: What is not handed out yet; None: everything is.
    rest: Range | None
    #: Rows at the start, about, for the progress.
    rows: int
    totals: Counts
    #: The spans that the second sweep has still to fail; None before it.
    second: Sequence[Mapping[str, Any]] | None = None


@dataclass(frozen=True, slots=True)
class Backfill:
    """The workflow's input. The id of its pass is its first run id."""

    previewed: Previewed
    speed: Speed
    dry_run: bool
    #: What `PassRequest.asked` records.
    asked: Mapping[str, Any]
    #: None in the first run.
    state: State | None = None


@dataclass(frozen=True, slots=True)
class FleetProgress:
    """The answer to the query `progress`."""

    pass_id: str
    rows: int
    totals: Counts
    #: Ranges that are being worked on.
    under_way: int
    is_second_sweep: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """The workflow's result: the report of the pass, as JSON, and its outcome."""

    report: Mapping[str, Any]
    totals: Counts
    held_back: int = 0
