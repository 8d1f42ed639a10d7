"""The messages between the workflow, its activities and the command.

Part of the histories of running workflows: only add fields, with defaults. Never a secret: anyone
who may see the workflow reads them in Temporal's UI. Keys of rows are as in the `passes` table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, ClassVar, TypeAlias, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

WORKFLOW = "BackfillWorkflow"
#: The query that returns a `FleetProgress`.
PROGRESS = "progress"
#: Running rows in a range, about; and ranges of a run before it continues as new, at least.
RANGE_ROWS = 10_000
RANGES_PER_RUN = 200
#: Of these for each that runs at a time, so that few are idle at the end of a run; but no more than
#: the history of a run has room for, with about five events each: Temporal warns at 10,240.
ROUNDS, MOST_PER_RUN = 20, 2_000
#: The failures of activities and of the workflow: the work was refused, or a server is unusable.
REFUSED, UNUSABLE = "Refused", "Unusable"

#: A key of a row, see `key_to_json`; and what is JSON.
Key: TypeAlias = Any
Json: TypeAlias = Mapping[str, Any]

#: What an older version does not know, it must not ignore: it could be a filter.
_STRICT: Mapping[str, Any] = {"extra": "forbid"}

_Message = TypeVar("_Message")


@dataclass(frozen=True, slots=True)
class Previewed:
    """What the operator saw and agreed to. A worker that differs from it refuses the work."""

    __pydantic_config__: ClassVar[Mapping[str, Any]] = _STRICT

    #: Of the target; empty without targets.
    target: str
    #: The table and what selects its rows, `MappedTable.scope`; and the namespace.
    table: str
    namespace: str
    #: What identifies the database and the table, whatever their addresses, as far as it is known.
    database: Json
    #: `TableSettings.mapping_as_json`.
    mapping: Json
    #: The parts of the policy that are settings, as JSON.
    policy: Json
    #: A digest of what decides about failure texts besides: redaction and decoding.
    texts: str
    #: The bounds of the window, ISO 8601; and the workflow type.
    since: str | None = None
    until: str | None = None
    workflow_type: str | None = None


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast the whole fleet works, and in how many pieces."""

    __pydantic_config__: ClassVar[Mapping[str, Any]] = _STRICT

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
class Span:
    """The rows with `after` < key <= `until`; None: from the beginning."""

    after: Key
    until: Key


@dataclass(frozen=True, slots=True)
class Counts:
    """What was counted in some ranges; also the totals of all of them."""

    #: The `Tally` of the rows that are done, as JSON.
    done: Json
    #: The spans with missing rows that the policy would fail, for a second look.
    to_recheck: Sequence[Span] = ()
    #: What was counted in these, as JSON of a `core.report.progress.Span` without its keys.
    aside: Json = field(default_factory=dict)
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
    #: Rows at the start, about, for the progress.
    rows: int
    #: What is not handed out yet.
    rest: Sequence[Span]
    totals: Counts
    #: The sweep as it was then, see `sweep_to_json`: whether visibility may be asked.
    swept: Json | None = None
    #: `TableWarning`s.
    warnings: Sequence[Json] = ()
    #: Whether `rest` is the second look, in which missing rows are failed.
    is_second: bool = False


@dataclass(frozen=True, slots=True)
class Backfill:
    """The workflow's input. The id of its pass is its first run id."""

    __pydantic_config__: ClassVar[Mapping[str, Any]] = _STRICT

    previewed: Previewed
    speed: Speed
    dry_run: bool
    #: What `PassRequest.asked` records.
    asked: Json
    #: None in the first run.
    state: State | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """The workflow's result."""

    #: The report of the pass, as `PassReport.as_json` has it.
    report: Json
    #: Why it was aborted; None if it was not.
    error: str | None
    #: The same as counts; `aside` is empty.
    totals: Counts
    held_back: int = 0
    warnings: Sequence[Json] = ()
    #: Whether it was cancelled.
    stopped: bool = False


@dataclass(frozen=True, slots=True)
class FleetProgress:
    """The answer to the query `progress`."""

    pass_id: str
    rows: int
    totals: Counts
    #: Ranges that are being worked on.
    under_way: int
    is_second: bool = False
    #: Once it has ended, also if it was cancelled.
    result: Result | None = None


def ranges_per_run(workers: int) -> int:
    """The ranges of one run of the workflow."""
    return min(max(RANGES_PER_RUN, ROUNDS * workers), max(MOST_PER_RUN, workers))


@cache
def _reader(kind: type[Any]) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def read_message(kind: type[_Message], given: Any) -> _Message:
    """A message from JSON. Raises `ValueError`, in one line."""
    try:
        message: _Message = _reader(cast("Any", kind)).validate_python(given)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        # A field that is not known says more than one that is lacking: another version sent it.
        first = min(errors, key=lambda each: each["type"] != "unexpected_keyword_argument")
        where = ".".join(map(str, first["loc"])) or kind.__name__
        raise ValueError(f"{where}: {first['msg'].lower()}") from None
    return message
