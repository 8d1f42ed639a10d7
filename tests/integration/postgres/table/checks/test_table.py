"""Tables that cannot be used as they are mapped: refused at the start, everything at once."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from urllib.parse import quote, urlsplit
from uuid import uuid4

import asyncpg
import pytest

from reconciler.core.errors import DatabaseUnfit, DatabaseUnusable
from reconciler.core.policy import StatusValues
from reconciler.postgres.connection.engine import open_engine
from reconciler.postgres.migrate.upgrade import migrate
from reconciler.postgres.table.names import TableMapping, TableNames
from reconciler.postgres.table.row_filter import Condition, RowFilter
from reconciler.settings.where import read_where
from tests.conftest import Database, with_user

JOBS = TableNames(table="jobs")
COLUMNS = (
    "id int PRIMARY KEY, workflow_id text, run_id text, status text, created_at timestamptz,"
    " completed_at timestamptz, error_message text"
)


async def refusal(database: Database, *mapping: object, writing: bool = True) -> str:
    with pytest.raises(DatabaseUnfit) as refused:
        await database.table(*mapping, writing=writing)
    return str(refused.value)


async def test_everything_that_is_wrong_is_named_at_once(database: Database) -> None:
    await database.execute(
        "CREATE TYPE state AS ENUM ('running', 'done');"
        "CREATE TABLE jobs (tenant int, id int, workflow_id text, status state, created_at date,"
        " completed_at timestamptz, PRIMARY KEY (tenant, id))"
    )

    columns, time, status, key = (await refusal(database, JOBS)).split("; ")

    assert columns == (
        "table jobs has no column run_id, error_message: set RECONCILER_COLUMNS__RUN_ID, "
        "RECONCILER_COLUMNS__ERROR_MESSAGE (empty: no such column), or run `reconciler migrate`"
    )
    assert time == (
        "column created_at of jobs is of type date, and must be timestamp with or without time "
        "zone: set RECONCILER_COLUMNS__CREATED_AT (empty: no such column)"
    )
    assert status == (
        "column status of jobs, state of running, done, cannot hold 'completed' "
        "(RECONCILER_STATUSES__COMPLETED), 'failed' (RECONCILER_STATUSES__FAILED)"
    )
    assert key == (
        "column id of jobs does not identify a row, its primary key is (tenant, id): set "
        "RECONCILER_COLUMNS__ID to one that is the whole primary key, or NOT NULL and UNIQUE, such "
        "as the workflow id may be, or to a uuid that is part of the primary key"
    )


@pytest.mark.parametrize(
    ("kind", "made"),
    [
        ("view", "CREATE VIEW jobs AS SELECT * FROM workflow_executions"),
        (
            "materialized view",
            "CREATE MATERIALIZED VIEW jobs AS SELECT * FROM workflow_executions",
        ),
        (
            "foreign table",
            """
            CREATE FOREIGN DATA WRAPPER far;
            CREATE SERVER away FOREIGN DATA WRAPPER far;
            CREATE FOREIGN TABLE jobs (id int, status text) SERVER away
            """,
        ),
    ],
)
async def test_what_is_no_table(database: Database, kind: str, made: str) -> None:
    await database.execute(made)
    message = f"jobs is a {kind}, not a table: set RECONCILER_TABLE to the table itself"

    assert await refusal(database, JOBS, writing=False) == message
    with pytest.raises(DatabaseUnfit, match=message):
        await migrate(database.url, TableMapping(JOBS))


@pytest.mark.parametrize(
    ("status", "message"),
    [
        ("varchar(8)", "character varying(8)"),
        ("char(8)", "character(8)"),
        (
            "text CHECK (status IN ('running', 'failed', 'a:b'))",
            "text with CHECK (status = ANY (ARRAY['running'::text, 'failed'::text, 'a:b'::text]))",
        ),
        ("short", "short"),
    ],
)
async def test_a_status_that_the_column_cannot_hold(
    database: Database, status: str, message: str
) -> None:
    await database.execute("CREATE DOMAIN short AS text CHECK (length(VALUE) < 9)")
    await database.execute(
        f"CREATE TABLE jobs ({COLUMNS.replace('status text', f'status {status}')})"
    )

    line = await refusal(database, JOBS, writing=False)

    assert line.startswith(f"column status of jobs, {message}, cannot hold 'completed' (REC")


@pytest.mark.parametrize(
    ("column", "kind", "message"),
    [
        ("run_id", "int", "is of type integer, and must be text, varchar or uuid"),
        ("completed_at", "text", "is of type text, and must be timestamp with or without time"),
        ("error_message", "json[]", "is of type json[], and must be text, varchar, json or jsonb"),
        ("error_message", "state", "is of type state, and must be text, varchar, json or jsonb"),
        ("error_message", "uuid", "is of type uuid, and must be text, varchar, json or jsonb"),
        ("error_message", "name", "is of type name, and must be text, varchar, json or jsonb"),
        ("error_message", '"char"', 'is of type "char", and must be text, varchar, json or jsonb'),
        ("workflow_id", "pair", "is of type pair, and must be a number, a text, an enum (not a"),
        ("workflow_id", "dom", "is of type dom, and must be a number, a text, an enum (not a"),
        ("run_id", "dom", "is of type dom, and must be text, varchar or uuid"),
    ],
)
async def test_a_type_that_no_row_could_be_written_with(
    database: Database, column: str, kind: str, message: str
) -> None:
    await database.execute(
        "CREATE TYPE state AS ENUM ('x'); CREATE TYPE pair AS (a int, b int);"
        "CREATE DOMAIN dom AS state"
    )
    table = COLUMNS.replace(f"{column} ", f"{column} {kind}, of_old_{column} ", 1)
    await database.execute(f"CREATE TABLE jobs ({table})")

    line = await refusal(database, JOBS)

    assert line.startswith(f"column {column} of jobs {message}")
    assert f": set RECONCILER_COLUMNS__{column.upper()}" in line


@pytest.mark.parametrize("name", ["status", "space", "tenant"])
async def test_a_domain_of_an_enum_is_refused_in_whatever_is_compared(
    database: Database, name: str
) -> None:
    await database.execute(
        "CREATE TYPE state AS ENUM ('running', 'completed', 'failed'); CREATE DOMAIN dom AS state;"
        "ALTER TABLE workflow_executions ADD space text, ADD tenant text;"
        "DROP INDEX reconciler_workflow_executions_running,"
        " reconciler_workflow_executions_workflow_id;"
        f"ALTER TABLE workflow_executions ALTER {name} DROP DEFAULT,"
        f" ALTER {name} TYPE dom USING {name}::state"
    )
    where = read_where("tenant=running")

    line = await refusal(database, TableNames(namespace="space"), StatusValues(), where)

    assert line.startswith(f"column {name} of workflow_executions is of type dom, and must be a ")
    assert "; " not in line


@pytest.mark.parametrize(
    ("name", "definition"),
    [
        ("completed_at", "timestamptz GENERATED ALWAYS AS ('2020-01-01Z'::timestamptz) STORED"),
        ("error_message", "text GENERATED ALWAYS AS (workflow_id) STORED"),
        ("status", "int GENERATED ALWAYS AS IDENTITY"),
    ],
)
async def test_a_column_that_no_write_may_give_a_value(
    database: Database, name: str, definition: str
) -> None:
    await database.execute(
        f"ALTER TABLE workflow_executions DROP {name};"
        f"ALTER TABLE workflow_executions ADD {name} {definition}"
    )
    statuses = StatusValues(("0",), "1", *["2"] * 4) if name == "status" else StatusValues()
    empty = "" if name == "status" else " (empty: no such column)"

    assert await refusal(database, TableNames(), statuses) == (
        f"column {name} of workflow_executions is GENERATED ALWAYS and cannot be written: "
        f"set RECONCILER_COLUMNS__{name.upper()}{empty}, or make it a plain column"
    )
    await database.table(TableNames(), statuses, writing=False)


@pytest.mark.parametrize(
    ("on", "parted", "published"),
    [
        ("PRIMARY KEY", "", "ALL TABLES"),
        ("NOT NULL UNIQUE", "", "ALL TABLES"),
        ("NOT NULL UNIQUE", "", "TABLE jobs"),
        ("NOT NULL UNIQUE", "", "TABLE jobs WITH (publish = 'insert')"),
        ("PRIMARY KEY", "", "TABLE jobs WHERE (status = 'x')"),
        ("PRIMARY KEY", "", "TABLE jobs (status)"),
        ("NOT NULL UNIQUE", " PARTITION BY HASH (id)", "TABLE part"),
        ("NOT NULL UNIQUE", " PARTITION BY HASH (id)", "TABLE jobs"),
        ("PRIMARY KEY", " PARTITION BY HASH (id)", "TABLE jobs"),
    ],
)
async def test_a_publication_that_keeps_the_table_from_being_updated(
    database: Database, on: str, parted: str, published: str
) -> None:
    """Accepted is what PostgreSQL updates, whatever the version of it asks of a publication."""
    await database.execute(f"CREATE TABLE jobs ({COLUMNS.replace('PRIMARY KEY', on)}){parted}")
    if parted:
        rest = "FOR VALUES WITH (MODULUS 1, REMAINDER 0)"
        await database.execute(f"CREATE TABLE part PARTITION OF jobs {rest}")
    await database.execute(f"CREATE PUBLICATION pub FOR {published}")
    await database.execute("INSERT INTO jobs (id) VALUES (1)")
    message = None
    try:
        await database.execute("UPDATE jobs SET status = 'running'")
    except asyncpg.PostgresError as error:
        message = error.args[0]

    if message is None:
        await database.table(JOBS)
    else:
        line = await refusal(database, JOBS)
        assert line.startswith(f"a publication keeps jobs from being updated: {message}")
        assert "\n" not in line
        await database.table(JOBS, writing=False)


async def test_a_check_that_says_neither_yes_nor_no_is_passed(database: Database) -> None:
    """As PostgreSQL takes it: null is not false."""
    await database.execute(
        "ALTER TABLE workflow_executions ADD CHECK (nullif(status, 'completed') <> 'x'),"
        " ADD CHECK (status <> 'failed' OR error_message IS NOT NULL)"
    )

    await database.table()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (("pending", "lost"), "cannot hold 'lost' (RECONCILER_STATUSES__RUNNING)"),
        (("it's", "pending"), 'cannot hold "it\'s" (RECONCILER_STATUSES__RUNNING)'),
    ],
)
async def test_each_of_several_running_values_must_fit(
    database: Database, values: tuple[str, ...], message: str
) -> None:
    await database.execute("CREATE TYPE state AS ENUM ('pending', 'completed', 'failed')")
    await database.execute(f"CREATE TABLE jobs ({COLUMNS.replace('status text', 'status state')})")

    assert (await refusal(database, JOBS, StatusValues(values))).endswith(message)


@pytest.mark.parametrize(
    ("constraint", "message"),
    [
        ("NOT NULL", "text NOT NULL, cannot hold null (RECONCILER_STATUSES__RUNNING)"),
        (
            "CHECK (status IS NOT NULL)",
            "with CHECK (status IS NOT NULL), cannot hold null (RECONCILER_STATUSES__RUNNING)",
        ),
    ],
)
async def test_null_must_fit_if_it_stands_for_running_rows(
    database: Database, constraint: str, message: str
) -> None:
    columns = COLUMNS.replace("status text", f"status text {constraint}")
    await database.execute(f"CREATE TABLE jobs ({columns})")

    assert (await refusal(database, JOBS, StatusValues(("running", None)))).endswith(message)


async def test_a_filter_by_the_status_does_not_keep_its_values_from_being_looked_at(
    database: Database,
) -> None:
    await database.execute("ALTER TABLE workflow_executions ALTER status TYPE varchar(8)")
    where = read_where("status=running,unheard of")

    line = await refusal(database, TableNames(), StatusValues(), where)

    assert "cannot hold 'unheard of' (RECONCILER_WHERE), 'completed' (RECONCILER_STATUSES" in line


async def test_a_status_that_is_longer_than_its_column_but_not_used_is_no_harm(
    database: Database,
) -> None:
    await database.execute("ALTER TABLE workflow_executions ALTER status TYPE varchar(7)")

    await database.table(TableNames(), StatusValues(("running",), "done", *["failed"] * 4))


@pytest.mark.parametrize(
    ("type_", "values", "fits"),
    [
        ("int", ("7", "08"), True),
        ("int", ("7", "acme"), False),
        ("uuid", ("01A209B5-E769-72F7-80F4-33ABCED35BC4",), True),
        ("varchar(3)", ("acme",), False),
    ],
)
async def test_a_filter_by_values_that_the_column_cannot_hold(
    database: Database, type_: str, values: tuple[str, ...], fits: bool
) -> None:
    await database.execute(f"ALTER TABLE workflow_executions ADD tenant {type_}")
    where = RowFilter((Condition("tenant", values),))

    if fits:
        await database.table(TableNames(), StatusValues(), where)
    else:
        line = await refusal(database, TableNames(), StatusValues(), where)
        assert "cannot hold 'acme' (RECONCILER_WHERE)" in line


async def test_a_filter_by_a_column_that_is_not_there(database: Database) -> None:
    line = await refusal(database, TableNames(), StatusValues(), read_where("tenant=7"))

    assert line == "table workflow_executions has no column tenant: set RECONCILER_WHERE"


@pytest.mark.parametrize(
    "on",
    ["(id, tenant)", "(id) WHERE tenant = 1", "(id, (tenant + 0))", "(tenant) INCLUDE (id)"],
)
async def test_an_index_that_is_not_on_the_key_alone_does_not_identify_a_row(
    database: Database, on: str
) -> None:
    columns = COLUMNS.replace("int PRIMARY KEY", "int NOT NULL")
    await database.execute(f"CREATE TABLE jobs (tenant int, {columns})")
    await database.execute(f"CREATE UNIQUE INDEX ON jobs {on}")

    assert "column id of jobs does not identify a row:" in await refusal(database, JOBS)


@pytest.mark.parametrize(
    ("by", "identifies"),
    [("created_at", True), ("status", True), ("status, created_at", True), ("run_id", False)],
)
async def test_a_partitioned_table_has_a_key_with_what_every_write_compares(
    database: Database, by: str, identifies: bool
) -> None:
    columns = COLUMNS.replace("PRIMARY KEY", "NOT NULL")
    await database.execute(
        f"CREATE TABLE jobs ({columns}, PRIMARY KEY (id, {by})) PARTITION BY RANGE ({by})"
    )

    if identifies:
        await database.table(JOBS)
    else:
        assert "does not identify a row, its primary key is (id, run_id)" in await refusal(
            database, JOBS
        )


async def test_a_table_that_others_inherit_from(database: Database) -> None:
    await database.execute(f"CREATE TABLE jobs ({COLUMNS}); CREATE TABLE child () INHERITS (jobs)")

    assert await refusal(database, JOBS) == (
        "jobs has child tables (child), whose rows its key does not identify: "
        "set RECONCILER_TABLE to a table that no other inherits from"
    )


async def test_a_unique_index_that_carries_more_than_the_key_identifies_a_row(
    database: Database,
) -> None:
    columns = COLUMNS.replace("int PRIMARY KEY", "int NOT NULL")
    await database.execute(f"CREATE TABLE jobs (tenant int, {columns})")
    await database.execute("CREATE INDEX ON jobs (id)")
    assert "column id of jobs does not identify a row:" in await refusal(database, JOBS)

    await database.execute("CREATE UNIQUE INDEX half ON jobs (id) INCLUDE (tenant)")
    await database.table(JOBS)

    await database.execute(
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'half'::regclass"
    )
    assert "column id of jobs does not identify a row:" in await refusal(database, JOBS)


async def test_by_what_a_table_is_partitioned_does_not_identify_a_row(database: Database) -> None:
    columns = COLUMNS.replace("int PRIMARY KEY", "int NOT NULL")
    await database.execute(
        f"CREATE TABLE jobs (tenant int, {columns}, UNIQUE (created_at))"
        " PARTITION BY LIST (created_at)"
    )
    assert "column id of jobs does not identify a row:" in await refusal(database, JOBS)

    await database.execute("ALTER TABLE jobs ADD UNIQUE (id, created_at, tenant)")
    assert "column id of jobs does not identify a row:" in await refusal(database, JOBS)

    await database.execute("ALTER TABLE jobs ADD UNIQUE (id, created_at)")
    await database.table(JOBS)


async def test_a_uuid_may_be_part_of_a_key_and_a_number_may_not(database: Database) -> None:
    columns = COLUMNS.replace("id int PRIMARY KEY", "id int, job uuid")
    await database.execute(
        f"CREATE TABLE jobs (tenant int, {columns}, PRIMARY KEY (tenant, id));"
        "CREATE UNIQUE INDEX ON jobs (tenant, job)"
    )
    assert await refusal(database, JOBS) == (
        "column id of jobs does not identify a row, its primary key is (tenant, id): set "
        "RECONCILER_COLUMNS__ID to one that is the whole primary key, or NOT NULL and UNIQUE, such "
        "as the workflow id may be, or to a uuid that is part of the primary key"
    )
    by_uuid = replace(JOBS, id="job")
    assert "column job of jobs does not identify a row" in await refusal(database, by_uuid)

    await database.execute("ALTER TABLE jobs ALTER job SET NOT NULL")
    await database.table(by_uuid)


@pytest.fixture
async def as_worker(database: Database) -> AsyncIterator[Database]:
    """As a role that may do all that it needs on `jobs`."""
    role = f"worker_{uuid4().hex[:8]}"
    await database.execute(
        f"CREATE ROLE {role} LOGIN; CREATE TABLE jobs ({COLUMNS});"
        f"GRANT SELECT, UPDATE ON jobs TO {role};"
        f"CREATE ROLE {role}_group; GRANT {role}_group TO {role}"
    )
    url = with_user(database.url, role)
    engine = open_engine(url)
    try:
        yield Database(url, engine, database.pool)
    finally:
        await engine.dispose()
        await database.execute(
            f"DROP OWNED BY {role}, {role}_group; DROP ROLE {role}, {role}_group"
        )


@pytest.mark.parametrize(
    ("policies", "hidden"),
    [
        ((), True),
        (("FOR SELECT USING (true)",), True),
        (("USING (status = 'running')",), True),
        (("TO pg_monitor USING (true)",), True),
        (("TO {role} USING (true)",), False),
        (("TO {group} USING (true)",), False),
        (("USING (true) WITH CHECK (status = 'running')",), True),
        (("USING (true)", "AS RESTRICTIVE USING (status = 'running')"), True),
        (("USING (true)",), False),
        (("FOR SELECT USING (true)", "FOR UPDATE USING (true)"), False),
        (("USING (true)", "AS RESTRICTIVE FOR DELETE USING (false)"), False),
    ],
)
async def test_row_level_security_that_may_hide_rows(
    database: Database, as_worker: Database, policies: tuple[str, ...], hidden: bool
) -> None:
    role = urlsplit(as_worker.url).username
    await database.execute("ALTER TABLE jobs ENABLE ROW LEVEL SECURITY")
    for number, policy in enumerate(policies):
        kind = "" if not policy.startswith("AS RESTRICTIVE") else "AS RESTRICTIVE "
        rest = policy.removeprefix("AS RESTRICTIVE ")
        rest = rest.format(role=role, group=f"{role}_group")
        await database.execute(f"CREATE POLICY p{number} ON jobs {kind}{rest}")

    await database.table(JOBS)  # the tests' own role is not kept from anything
    if hidden:
        line = await refusal(as_worker, JOBS)
        assert line.startswith("row-level security may hide rows of jobs from role worker_")
        assert "CREATE POLICY reconciler ON jobs TO worker_" in line
    else:
        await as_worker.table(JOBS)


async def test_reading_needs_no_more_than_a_policy_for_reading(
    database: Database, as_worker: Database
) -> None:
    await database.execute("ALTER TABLE jobs ENABLE ROW LEVEL SECURITY")
    await database.execute("CREATE POLICY read ON jobs FOR SELECT USING (true)")

    await as_worker.table(JOBS, writing=False)


async def test_a_read_only_database_is_waited_for(database: Database) -> None:
    name = (await database.fetch("SELECT current_database() AS name"))[0]["name"]
    await database.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    await database.engine.dispose()

    with pytest.raises(DatabaseUnusable, match="default_transaction_read_only is on") as refused:
        await database.table()

    assert not isinstance(refused.value, DatabaseUnfit)
    await database.table(writing=False)


_STATEMENT = re.compile(r'(?:CREATE POLICY|GRANT) [^;]* TO "[^"]*"(?: USING \(true\))?')


async def test_what_is_to_be_granted_can_be_typed(database: Database) -> None:
    role = f"odd {uuid4().hex[:8]}"
    columns = COLUMNS.replace("workflow_id", '"Workflow"')
    await database.execute(f'CREATE SCHEMA "My App"; CREATE TABLE "My App"."Jobs" ({columns})')
    await database.execute(
        f'CREATE ROLE "{role}" LOGIN; GRANT USAGE ON SCHEMA "My App" TO "{role}"'
    )
    await database.execute('ALTER TABLE "My App"."Jobs" ENABLE ROW LEVEL SECURITY')
    engine = open_engine(with_user(database.url, quote(role)))
    try:
        as_role = Database(database.url, engine, database.pool)
        names = TableNames("Jobs", "My App", workflow_id="Workflow")
        line = await refusal(as_role, names)
        for statement in _STATEMENT.findall(line):
            await database.execute(statement)

        await as_role.table(names)
    finally:
        await engine.dispose()
        await database.execute(f'DROP OWNED BY "{role}"; DROP ROLE "{role}"')
