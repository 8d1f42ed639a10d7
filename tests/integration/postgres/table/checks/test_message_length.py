"""Messages are as long as the checks of their column allow."""

from __future__ import annotations

import pytest

from reconciler.postgres.rows.lookup.stored import find_rows
from reconciler.postgres.rows.store import PostgresStore
from reconciler.postgres.table.checks.table import TableUnfit
from tests.conftest import Database
from tests.integration.postgres.rows.test_rejections import begun, rows_of
from tests.support.factories import outcome


async def restrict(database: Database, check: str, *, domain: bool) -> None:
    if domain:
        await database.execute(
            f"CREATE DOMAIN short AS text CHECK ({check.replace('error_message', 'VALUE')});"
            "ALTER TABLE workflow_executions ALTER error_message TYPE short"
        )
    else:
        await database.execute(f"ALTER TABLE workflow_executions ADD CHECK ({check})")


@pytest.mark.parametrize("domain", [False, True], ids=["constraint", "domain"])
@pytest.mark.parametrize(
    ("check", "longest"),
    [
        ("char_length(error_message) <= 500", 500),
        ("octet_length(error_message) < 64", 63),
        ("char_length(error_message) <= 1", 1),
        ("error_message <> ''", None),
        ("error_message !~ ':'", None),
    ],
)
async def test_a_message_is_cut_to_what_a_check_allows(
    database: Database, check: str, longest: int | None, domain: bool
) -> None:
    await restrict(database, check, domain=domain)

    assert (await database.table()).error_message_length == longest


async def test_a_message_that_is_too_long_is_written_shorter(database: Database) -> None:
    await restrict(database, "char_length(error_message) <= 50", domain=False)
    table, rows = await database.table(), await rows_of(database, 2)
    store = PostgresStore(database.engine, table)

    done = await store.finish_if_running(
        await begun(database), [outcome(row, error_message="boom, " * 100) for row in rows]
    )

    assert (len(done.ids), done.refused) == (2, {})
    (stored,) = await find_rows(database.engine, table, "wf-1")
    assert stored.error_message is not None
    assert len(stored.error_message) == 50


@pytest.mark.parametrize("domain", [False, True], ids=["constraint", "domain"])
async def test_a_column_that_takes_no_message_is_refused_at_the_start(
    database: Database, domain: bool
) -> None:
    await restrict(database, "error_message ~ '^E[0-9]+$'", domain=domain)

    with pytest.raises(TableUnfit, match="cannot hold a message: set RECONCILER_COLUMNS__ERROR_M"):
        await database.table()
