"""What is ours in the database, refused at the start if it is not this version's or not for us."""

from __future__ import annotations

from uuid import uuid4

import pytest
from alembic.script import ScriptDirectory

from reconciler.core.errors import DatabaseUnfit
from reconciler.postgres.connection.engine import open_engine
from reconciler.postgres.journal.schema_check import check_schema
from reconciler.postgres.migrate.upgrade import alembic_config
from reconciler.postgres.schema import REVISION
from reconciler.postgres.table.names import TableMapping
from tests.conftest import Database, with_user


async def test_a_migrated_database_will_do(database: Database) -> None:
    await check_schema(database.engine, looping=True)


def test_the_revision_is_that_of_the_last_migration() -> None:
    scripts = ScriptDirectory.from_config(alembic_config("", TableMapping()))
    revisions = [script.revision for script in scripts.walk_revisions()]

    assert scripts.get_current_head() == REVISION
    assert revisions == sorted(revisions, reverse=True), "they are compared as text"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("DROP SCHEMA reconciler CASCADE", "does not exist: run `reconciler migrate`"),
        ("DELETE FROM reconciler.alembic_version", "does not exist: run `reconciler migrate`"),
        (
            "UPDATE reconciler.alembic_version SET version_num = '0001'",
            "is at revision 0001, this version needs",
        ),
        (
            "UPDATE reconciler.alembic_version SET version_num = '0999'",
            "is at revision 0999, this version knows none after",
        ),
    ],
    ids=["absent", "half made", "behind", "ahead"],
)
async def test_another_schema_will_not(database: Database, change: str, message: str) -> None:
    await database.execute(change)

    with pytest.raises(DatabaseUnfit, match=message):
        await check_schema(database.engine, looping=False)


async def test_a_schema_that_is_behind_and_lacks_a_table_is_said_to_be_behind(
    database: Database,
) -> None:
    await database.execute(
        "DROP TABLE reconciler.lease; UPDATE reconciler.alembic_version SET version_num = '0002'"
    )

    with pytest.raises(DatabaseUnfit, match="run `reconciler migrate`"):
        await check_schema(database.engine, looping=True)


async def test_every_right_that_is_missing_is_named_at_once(database: Database) -> None:
    role = f"nobody_{uuid4().hex[:8]}"
    await database.execute(f"CREATE ROLE {role} LOGIN")
    engine = open_engine(with_user(database.url, role))
    try:
        with pytest.raises(DatabaseUnfit) as refused:
            await check_schema(engine, looping=True)
        grants = str(refused.value).partition(": ")[2]
        await database.execute(grants)
        await check_schema(engine, looping=True)
    finally:
        await engine.dispose()
        await database.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")

    assert grants.count("GRANT") == 24
