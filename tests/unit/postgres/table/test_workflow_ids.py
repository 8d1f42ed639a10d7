"""The values that the columns of a workflow id may have: exactly as the application writes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

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
}


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
    ],
)
def test_an_id_is_split_into_the_values_that_compose_it(
    template: str, workflow_id: str, found: Sequence[Sequence[object]]
) -> None:
    assert values(template, workflow_id) == found


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
        (sa.Enum("a"), "state", True),
    ],
)
def test_only_types_with_one_text_per_value_are_part_of_an_id(
    kind: sa.types.TypeEngine[Any], base: str, is_one: bool
) -> None:
    assert is_composable(sa.Column("x", kind, info={BASE: base})) is is_one
