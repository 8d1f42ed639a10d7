"""What observers of a pass see, and when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from reconciler.core.model import Outcome, Verdict
from reconciler.core.policy import StatusValues
from reconciler.core.report.pass_report import PassOutcome
from reconciler.core.report.request import PassRequest
from reconciler.core.report.sweep import Round
from reconciler.core.report.tally import Tally


class ReportView(Protocol):
    """A report as observers see it: read-only."""

    @property
    def pass_id(self) -> str: ...  # noqa: D102
    @property
    def request(self) -> PassRequest: ...  # noqa: D102
    @property
    def started_at(self) -> datetime: ...  # noqa: D102
    @property
    def duration_seconds(self) -> float: ...  # noqa: D102
    @property
    def error(self) -> str | None: ...  # noqa: D102
    @property
    def outcome(self) -> PassOutcome: ...  # noqa: D102
    @property
    def more_left(self) -> bool: ...  # noqa: D102
    def as_json(self, statuses: StatusValues) -> Mapping[str, Any]: ...  # noqa: D102


class PassView(ReportView, Protocol):
    """The report of a pass over rows, read-only. Its tally is a copy."""

    @property
    def tally(self) -> Tally: ...  # noqa: D102
    @property
    def to_recheck(self) -> int: ...  # noqa: D102
    @property
    def held_back(self) -> int: ...  # noqa: D102
    @property
    def rpcs(self) -> Mapping[str, int]: ...  # noqa: D102
    @property
    def disagreements(self) -> int: ...  # noqa: D102
    @property
    def round(self) -> Round | None: ...  # noqa: D102


class Observer:
    """Receives the events of passes, as metrics or a progress bar do. All methods do nothing.

    A base class, because most observers need only some of the events. An observer cannot change a
    report, and the order of observers makes no difference. One that raises `Unusable` aborts the
    pass; the others still get every event.
    """

    async def on_start(self, report: PassView) -> None:
        """A pass begins; nothing is written yet."""

    async def on_written(self, report: PassView, outcomes: Sequence[Outcome]) -> None:
        """The pass has written these outcomes; never called in a dry run."""

    async def on_page(self, report: PassView, verdicts: Sequence[Verdict]) -> None:
        """A page has been settled, also in a dry run: its verdicts, in the order of the rows.

        A second look at a page comes without verdicts.
        """

    async def on_pass(self, report: PassView) -> None:
        """A pass has ended, whatever its outcome."""
