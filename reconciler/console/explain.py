"""What `explain` prints: row, Temporal's answer and verdict."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import assert_never

from rich.console import Console
from rich.table import Table

from reconciler.app.wiring import Explanation
from reconciler.console.report import WHY_LEFT
from reconciler.console.screen import shown
from reconciler.core.model import (
    Closed,
    Finish,
    Leave,
    Missing,
    Observation,
    Open,
    Unknown,
)


def print_explanations(explanations: Sequence[Explanation], console: Console) -> None:
    """Row, Temporal's answer and verdict, one block per row."""
    for explanation in explanations:
        table = Table(box=None, show_header=False, pad_edge=False)
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
        for name, text in _explain(explanation):
            table.add_row(name, shown(text))
        console.print(table)
        console.print()


def _explain(explanation: Explanation) -> Iterator[tuple[str, str]]:
    stored = explanation.stored
    row = stored.row
    created = "an unknown time" if row.created_at is None else row.created_at.isoformat()
    yield "row", f"{row.id}, created {created}, run id {row.run_id or 'not stored'}"
    yield "status", stored.status
    if stored.completed_at:
        yield "completed at", stored.completed_at.isoformat()
    if stored.error_message:
        yield "error", stored.error_message
    yield "Temporal", describe_observation(explanation.observation)
    yield "verdict", _describe_verdict(explanation)


def describe_observation(observation: Observation) -> str:
    """What Temporal says, in a line."""
    match observation:
        case Open(status):
            return f"open ({status})"
        case Closed():
            end = f"{observation.status} at {observation.close_time.isoformat()}"
            text = f": {observation.failure}" if observation.failure else ""
            return f"{end}, run {observation.run_id}{text}"
        case Missing(detail):
            return f"not found: {detail}"
        case Unknown(cause):
            return f"cannot tell: {cause}"
        case _:
            assert_never(observation)


def _describe_verdict(explanation: Explanation) -> str:
    if not explanation.stored.running:
        return "none: the row is not marked as running, or not ours, so no pass looks at it"
    match explanation.verdict:
        case Finish(outcome):
            return f"finish as {outcome.status!r}"
        case Leave(reason=reason, detail=detail):
            # Of anything else than an end, the answer itself has said why.
            why = f" ({detail})" if isinstance(explanation.observation, Closed) else ""
            return f"leave: {WHY_LEFT[reason]}{why}"
        case _:
            assert_never(explanation.verdict)
