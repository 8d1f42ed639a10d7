"""The values that the columns of a workflow id may have: exactly as the application writes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from reconciler.postgres.table.relation import BASE
from reconciler.postgres.table.template import Template
from reconciler.postgres.table.workflow_ids import WorkflowIds, is_composable

JOB = UUID("7a1c8aa0-0000-4000-8000-00000000000b")
TYPES: Mapping[str, sa.types.TypeEngine[Any]] = {
    "id": sa.Uuid(),
    "name": sa.Text(),
    "part": sa.Integer(),
    "small": sa.SmallInteger(),
    "kind": sa.Enum("a", "b"),
    "time": sa.DateTime(timezone=True),
    "local": sa.DateTime(),
}
END = datetime(2026, 3, 1, 2, 0, 5, tzinfo=UTC)


def values(template: str, *ids: str) -> Sequence[Sequence[object]]:
    parsed = Template.parse(template)
    columns = tuple(sa.Column(name, TYPES[name]) for name in parsed.columns)
    return list(WorkflowIds(parsed, columns).parameters(ids).values())


@pytest.mark.parametrize(
    ("template", "workflow_id", "found"),
    [
        ("sync-{id}", f"sync-{JOB}", [[JOB]]),
        ("sync-{id}", f"sync-{str(JOB).upper()}", [[]]),
        ("sync-{id}", f"sync-{JOB.hex}", [[]]),
        ("sync-{part}", "sync-7", [[7]]),
        ("sync-{part}", "sync--7", [[-7]]),
        ("sync-{part}", "sync-07", [[]]),
        ("sync-{part}", "sync-+7", [[]]),
        ("sync-{part}", "sync-٧", [[]]),
        ("sync-{part}", "sync-2147483648", [[]]),
        ("sync-{part}", "sync--2147483648", [[-2147483648]]),
        ("sync-{small}", "sync-32768", [[]]),
        ("{part}", "7", [[7]]),
        ("{name}-{part}", "a-b-7", [["a", "a-b"], [7]]),
        ("{name}-{part}", "a--7", [["a", "a-"], [-7, 7]]),
        ("{name}/{id}/{part}", f"a/{JOB}/7", [["a", f"a/{JOB}"], [JOB], [7]]),
        ("{id}/{name}/{part}", f"{JOB}/any/7", [[JOB], [7]]),
        ("{kind}-{part}", "a-7", [[7]]),
        ("{id}-{time}", f"{JOB}-2026-03-01T02:00:05Z", [[JOB], [END]]),
        ("{id}-{local}", f"{JOB}-2026-03-01T02:00:05Z", [[JOB], [END]]),
        ("{time}/{part}", "2026-03-01T02:00:05Z/7", [[END], [7]]),
        ("at-{time}", "at-2026-03-01T02:00:05+00:00", [[]]),
        ("at-{time}", "at-2026-03-01T02:00:05.0Z", [[]]),
        ("at-{time}", "at-2026-03-01 02:00:05Z", [[]]),
        ("at-{time}", "at-2026-02-30T02:00:05Z", [[]]),
        ("at-{time}", "at-0000-03-01T02:00:05Z", [[]]),
        ("at-{time}", "at-٢٠٢٦-03-01T02:00:05Z", [[]]),
    ],
)
def test_an_id_is_split_into_the_values_that_compose_it(
    template: str, workflow_id: str, found: Sequence[Sequence[object]]
) -> None:
    assert values(template, workflow_id) == found


@given(st.datetimes(timezones=st.just(UTC)), st.text())
def test_a_time_is_found_in_an_id_just_as_a_schedule_writes_it(time: datetime, before: str) -> None:
    whole = time.replace(microsecond=0)
    written = whole.isoformat().replace("+00:00", "Z")

    assert values("{name}-{time}", f"{before}-{written}")[1] == [whole]


def test_the_values_of_several_ids_are_looked_up_together() -> None:
    assert sorted(map(str, values("sync-{part}", "sync-1", "sync-2", "other", "sync-1")[0])) == [
        "1",
        "2",
    ]


@pytest.mark.parametrize(
    ("kind", "base", "is_one"),
    [
        (sa.Text(), "text", True),
        (sa.String(20), "character varying(20)", True),
        (sa.CHAR(20), "character(20)", False),
        (sa.CHAR(), "bpchar", False),
        (sa.Numeric(), "numeric", False),
        (sa.Boolean(), "boolean", False),
        (sa.Date(), "date", False),
        (sa.BigInteger(), "bigint", True),
        (sa.Uuid(), "uuid", True),
        (sa.DateTime(timezone=True), "timestamp with time zone", True),
        (sa.DateTime(), "timestamp without time zone", True),
        (sa.Enum("a"), "state", True),
    ],
)
def test_only_types_with_one_text_per_value_are_part_of_an_id(
    kind: sa.types.TypeEngine[Any], base: str, is_one: bool
) -> None:
    assert is_composable(sa.Column("x", kind, info={BASE: base})) is is_one
