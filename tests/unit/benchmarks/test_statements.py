from __future__ import annotations

import pytest

from benchmarks.statements import Pauses, Statement


def test_only_pauses_since_a_statement_began_count() -> None:
    times = iter([1.0, 1.5, 3.0, 3.2, 4.0, 4.1])
    pauses = Pauses(lambda: next(times))
    for phase in ("start", "stop") * 3:
        pauses.add(phase, {})

    assert pauses.since(0) == pytest.approx(0.8)
    assert pauses.since(2) == pytest.approx(0.3)
    assert pauses.since(5) == 0


@pytest.mark.parametrize(
    ("query", "kind"),
    [
        ("SELECT id FROM workflow_executions WHERE id > $1 ORDER BY id LIMIT $2", "a page's read"),
        ("WITH locked AS (SELECT … FROM unnest($1::bigint[]) …)", "a batch's write"),
        ("UPDATE reconciler.passes SET report = $1", "the history of passes"),
        ("COMMIT;", "BEGIN, COMMIT, ROLLBACK"),
        ("SELECT … FROM pg_type ORDER BY oid LIMIT 1", "others"),
    ],
)
def test_the_text_of_a_statement_shows_what_it_is_for(query: str, kind: str) -> None:
    assert Statement(query, (), 0).kind == kind
