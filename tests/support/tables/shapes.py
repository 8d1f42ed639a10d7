"""Tables as applications have them, with rows; each is reconciled as it is."""

from __future__ import annotations

from dataclasses import dataclass, field

from reconciler.core.policy import StatusValues
from reconciler.postgres.table.names import TableMapping, TableNames
from reconciler.settings.where import read_where

#: The workflow ids of the rows: the workflow has completed, failed, or is open; the row is already
#: finished; or another reconciler is responsible for it.
DONE, BROKEN, OPEN, OVER, OTHERS = "done", "broken", "open", "over", "others"


JOBS = TableNames(table="jobs")


@dataclass(frozen=True)
class Shape:
    #: Creates the table and its rows.
    sql: str
    mapping: TableMapping = field(default_factory=lambda: TableMapping(JOBS))
    #: What a completed row has as its message, and how the message of a failed row is stored.
    no_message: str | None = None
    stored: str = "{}"
    #: What `reconciler migrate` reports that it has done.
    added: tuple[str, ...] = (
        "built index reconciler_jobs_running",
        "built index reconciler_jobs_workflow_id",
    )


_KEYED = TableNames("Jobs", "My App", "Job Id", "wf", "run", "state", "inserted", "ended", "why")

SHAPES = {
    "plain, without the columns that are written": Shape(
        """
        CREATE TABLE jobs (id bigint PRIMARY KEY, workflow_id text NOT NULL, run_id text,
            status text NOT NULL, created_at timestamptz NOT NULL DEFAULT now());
        INSERT INTO jobs VALUES (1, 'done', 'r', 'running'), (2, 'broken', 'r', 'running'),
            (3, 'open', 'r', 'running'), (4, 'over', 'r', 'completed');
        """,
        added=(
            "added column completed_at",
            "added column error_message",
            "built index reconciler_jobs_running",
            "built index reconciler_jobs_workflow_id",
        ),
    ),
    "quoted names, uuid key, enum, times without zone": Shape(
        """
        CREATE SCHEMA "My App";
        CREATE TYPE "My App".state AS ENUM ('it''s on', 'ok', 'bad');
        CREATE TABLE "My App"."Jobs" ("Job Id" uuid PRIMARY KEY DEFAULT gen_random_uuid(),
            wf varchar(100) NOT NULL, run uuid, state "My App".state NOT NULL,
            inserted timestamp NOT NULL DEFAULT timezone('UTC', now()), ended timestamp,
            why varchar(60));
        INSERT INTO "My App"."Jobs" (wf, run, state)
            SELECT wf, gen_random_uuid(), state::"My App".state FROM (VALUES ('done', 'it''s on'),
            ('broken', 'it''s on'), ('open', 'it''s on'), ('over', 'bad')) given(wf, state);
        """,
        TableMapping(_KEYED, StatusValues(("it's on",), "ok", *["bad"] * 4)),
        added=("built index reconciler_Jobs_running", "built index reconciler_Jobs_workflow_id"),
    ),
    "text key, several running values, check, no message": Shape(
        """
        CREATE TABLE jobs (id text PRIMARY KEY, workflow_id text, run_id text,
            status varchar(9) DEFAULT 'pending'
                CHECK (status IN ('pending', 'running', 'completed', 'failed')),
            created_at timestamptz DEFAULT now(), completed_at timestamptz(3));
        INSERT INTO jobs VALUES ('t/1', 'done', 'r', 'pending'), ('t/2', 'broken', 'r', 'running'),
            ('t/3', 'open', NULL, 'running'), ('t/4', 'over', 'r', 'failed');
        """,
        TableMapping(
            TableNames(table="jobs", error_message=None), StatusValues(("pending", "running"))
        ),
    ),
    "integer key, status as numbers, no run id": Shape(
        """
        CREATE TABLE jobs (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, workflow_id text,
            status smallint NOT NULL, created_at timestamptz DEFAULT now() - '1h'::interval,
            completed_at timestamptz, error_message text);
        INSERT INTO jobs (workflow_id, status)
            VALUES ('done', 0), ('broken', 0), ('open', 0), ('over', 1);
        """,
        TableMapping(TableNames(table="jobs", run_id=None), StatusValues(("0",), "1", *["2"] * 4)),
    ),
    "the key is the workflow id, no run id": Shape(
        """
        CREATE TABLE jobs (workflow_id varchar(200) PRIMARY KEY, state text NOT NULL,
            created_at timestamptz DEFAULT now() - '1h'::interval, completed_at timestamptz,
            error_message text);
        INSERT INTO jobs VALUES ('done', 'running'), ('broken', 'running'), ('open', 'running'),
            ('over', 'completed');
        """,
        TableMapping(
            TableNames(table="jobs", id="workflow_id", run_id=None, status="state"),
        ),
        added=("built index reconciler_jobs_running",),
    ),
    "a message that is never null": Shape(
        """
        CREATE TABLE jobs (id bigint PRIMARY KEY, workflow_id text NOT NULL, run_id text,
            status text NOT NULL, created_at timestamptz DEFAULT now(), completed_at timestamptz,
            error_message varchar(80) NOT NULL DEFAULT '');
        INSERT INTO jobs VALUES (1, 'done', 'r', 'running'), (2, 'broken', 'r', 'running'),
            (3, 'open', 'r', 'running'), (4, 'over', 'r', 'failed');
        UPDATE jobs SET error_message = 'second attempt' WHERE id = 1;
        """,
        no_message="",
    ),
    "a message in a jsonb that is never null": Shape(
        """
        CREATE TABLE jobs (id bigint PRIMARY KEY, workflow_id text NOT NULL, run_id text,
            status text NOT NULL, created_at timestamptz DEFAULT now(), completed_at timestamptz,
            error_message jsonb NOT NULL DEFAULT '{}');
        INSERT INTO jobs VALUES (1, 'done', 'r', 'running'), (2, 'broken', 'r', 'running'),
            (3, 'open', 'r', 'running'), (4, 'over', 'r', 'failed');
        UPDATE jobs SET error_message = '{"b":1,  "a": [2]}' WHERE id = 1;
        """,
        no_message="{}",
        stored='{{"message": "{}"}}',
    ),
    "a message in a domain of json": Shape(
        """
        CREATE DOMAIN failure AS json;
        CREATE TABLE jobs (id bigint PRIMARY KEY, workflow_id text NOT NULL, run_id text,
            status text NOT NULL, created_at timestamptz DEFAULT now(), completed_at timestamptz,
            error_message failure);
        INSERT INTO jobs VALUES (1, 'done', 'r', 'running'), (2, 'broken', 'r', 'running'),
            (3, 'open', 'r', 'running'), (4, 'over', 'r', 'failed');
        UPDATE jobs SET error_message = '{"b":1,  "a": [2]}' WHERE id = 1;
        """,
        stored='{{"message": "{}"}}',
    ),
    "status null until the end": Shape(
        """
        CREATE TYPE ending AS ENUM ('OK', 'FAILED');
        CREATE TABLE jobs (id text PRIMARY KEY, workflow_id text NOT NULL, run_id text,
            status ending, created_at timestamptz DEFAULT now(), completed_at timestamptz,
            error_message text);
        INSERT INTO jobs (id, workflow_id, run_id, status) VALUES ('a', 'done', 'r', NULL),
            ('b', 'broken', 'r', NULL), ('c', 'open', 'r', NULL), ('d', 'over', 'r', 'OK');
        """,
        TableMapping(JOBS, StatusValues((None,), "OK", *["FAILED"] * 4)),
    ),
    "a boolean that may be null": Shape(
        """
        CREATE TABLE jobs (id int PRIMARY KEY, workflow_id text NOT NULL, run_id text,
            status boolean, created_at timestamptz DEFAULT now(), completed_at timestamptz,
            error_message text);
        INSERT INTO jobs VALUES (1, 'done', 'r', NULL), (2, 'broken', 'r', false),
            (3, 'open', 'r', NULL), (4, 'over', 'r', true);
        CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN NEW.error_message := NEW.error_message; RETURN NEW; END $$;
        CREATE TRIGGER touch BEFORE UPDATE ON jobs FOR EACH ROW EXECUTE FUNCTION touch();
        """,
        TableMapping(JOBS, StatusValues(("false", None), *["true"] * 5)),
    ),
    "a status by its uuid": Shape(
        """
        CREATE TABLE states (id uuid PRIMARY KEY, name text);
        INSERT INTO states VALUES ('7a1c8aa0-0000-4000-8000-000000000001', 'running'),
            ('7a1c8aa0-0000-4000-8000-000000000002', 'completed'),
            ('7a1c8aa0-0000-4000-8000-000000000003', 'failed');
        CREATE TABLE jobs (id int PRIMARY KEY, workflow_id text NOT NULL, run_id text,
            status uuid REFERENCES states, created_at timestamptz DEFAULT now(),
            completed_at timestamptz, error_message text);
        INSERT INTO jobs SELECT jobs.id, wf, 'r', states.id FROM states JOIN (VALUES
            (1, 'done', 'running'), (2, 'broken', 'running'), (3, 'open', 'running'),
            (4, 'over', 'failed')) jobs(id, wf, status) ON name = status;
        """,
        TableMapping(
            JOBS,
            StatusValues(
                ("7a1c8aa0-0000-4000-8000-000000000001",),
                "7a1c8aa0-0000-4000-8000-000000000002",
                *["7a1c8aa0-0000-4000-8000-000000000003"] * 4,
            ),
        ),
    ),
    "no creation time, no completion time": Shape(
        """
        CREATE DOMAIN short AS text CHECK (length(VALUE) < 12);
        CREATE TABLE jobs (id int NOT NULL UNIQUE, workflow_id short, run_id short, status short,
            error_message text);
        INSERT INTO jobs VALUES (1, 'done', 'r', 'running'), (2, 'broken', 'r', 'running'),
            (3, 'open', 'r', 'running'), (4, 'over', 'r', 'failed');
        """,
        TableMapping(TableNames(table="jobs", created_at=None, completed_at=None)),
    ),
    "domains of everything": Shape(
        """
        CREATE DOMAIN five AS char(5);
        CREATE DOMAIN key AS five;
        CREATE DOMAIN named AS varchar(100);
        CREATE DOMAIN run AS uuid;
        CREATE DOMAIN state AS varchar(9) CHECK (VALUE <> 'lost');
        CREATE DOMAIN made AS timestamp(3) with time zone;
        CREATE DOMAIN ended AS made;
        CREATE DOMAIN why AS varchar(60);
        CREATE TABLE jobs (id key PRIMARY KEY, workflow_id named, run_id run, status state,
            created_at made DEFAULT now(), completed_at ended, error_message why, space named);
        INSERT INTO jobs SELECT id, wf, gen_random_uuid(), state FROM (VALUES
            ('a', 'done', 'running'), ('ab', 'broken', 'running'), ('abcd', 'open', 'running'),
            ('abcde', 'over', 'completed')) given(id, wf, state);
        """,
        TableMapping(TableNames(table="jobs", namespace="space")),
    ),
    "partitioned by time": Shape(
        """
        CREATE TABLE jobs (id bigint GENERATED ALWAYS AS IDENTITY, workflow_id text, run_id text,
            status text, created_at timestamptz, completed_at timestamptz, error_message text,
            PRIMARY KEY (id, created_at)) PARTITION BY RANGE (created_at);
        CREATE TABLE "jobs before" PARTITION OF jobs FOR VALUES FROM (MINVALUE) TO ('2026-11-01');
        CREATE SCHEMA parts;
        CREATE TABLE parts.jobs_since PARTITION OF jobs FOR VALUES FROM ('2026-11-01')
            TO (MAXVALUE) PARTITION BY HASH (id);
        CREATE TABLE jobs_0 PARTITION OF parts.jobs_since FOR VALUES WITH (MODULUS 2, REMAINDER 0);
        CREATE TABLE jobs_1 PARTITION OF parts.jobs_since FOR VALUES WITH (MODULUS 2, REMAINDER 1);
        INSERT INTO jobs (workflow_id, run_id, status, created_at)
            VALUES ('done', 'r', 'running', '2026-10-01'), ('broken', 'r', 'running', now()),
            ('open', 'r', 'running', now()), ('over', 'r', 'completed', '2026-10-01');
        """
    ),
    "a uuid in a composite key": Shape(
        """
        CREATE TABLE jobs (tenant int, id uuid DEFAULT gen_random_uuid(), workflow_id text,
            run_id text, status text, created_at timestamptz DEFAULT now(),
            completed_at timestamptz, error_message text, PRIMARY KEY (tenant, id));
        INSERT INTO jobs (tenant, workflow_id, run_id, status)
            VALUES (7, 'done', 'r', 'running'), (8, 'broken', 'r', 'running'),
            (9, 'open', 'r', 'running'), (7, 'over', 'r', 'completed');
        CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RETURN NULL; END $$;
        CREATE TRIGGER touch AFTER UPDATE ON jobs FOR EACH ROW EXECUTE FUNCTION touch();
        """
    ),
    "a uuid in a composite key, hash-partitioned by tenant": Shape(
        """
        CREATE TABLE jobs (tenant int, id uuid DEFAULT gen_random_uuid(), workflow_id text,
            run_id text, status text, created_at timestamptz DEFAULT now(),
            completed_at timestamptz, error_message text, PRIMARY KEY (tenant, id)
            ) PARTITION BY HASH (tenant);
        CREATE TABLE jobs_0 PARTITION OF jobs FOR VALUES WITH (MODULUS 2, REMAINDER 0);
        CREATE TABLE jobs_1 PARTITION OF jobs FOR VALUES WITH (MODULUS 2, REMAINDER 1);
        INSERT INTO jobs (tenant, workflow_id, run_id, status)
            VALUES (7, 'done', 'r', 'running'), (8, 'broken', 'r', 'running'),
            (9, 'open', 'r', 'running'), (10, 'over', 'r', 'completed');
        """
    ),
    "partitioned by its own status": Shape(
        """
        CREATE TABLE jobs (id int, workflow_id text, run_id text, status text,
            created_at timestamptz DEFAULT now(), completed_at timestamptz, error_message text,
            PRIMARY KEY (id, status)) PARTITION BY LIST (status);
        CREATE TABLE jobs_on PARTITION OF jobs FOR VALUES IN ('running');
        CREATE TABLE jobs_off PARTITION OF jobs DEFAULT;
        INSERT INTO jobs VALUES (1, 'done', 'r', 'running'), (2, 'broken', 'r', 'running'),
            (3, 'open', 'r', 'running'), (4, 'over', 'r', 'completed');
        """
    ),
    "triggers and foreign keys": Shape(
        """
        CREATE TABLE tenants (id int PRIMARY KEY);
        CREATE TABLE states (state text PRIMARY KEY);
        INSERT INTO tenants VALUES (7);
        INSERT INTO states VALUES ('running'), ('completed'), ('failed');
        CREATE TABLE jobs (id bigint PRIMARY KEY, tenant int NOT NULL REFERENCES tenants,
            workflow_id text, run_id text, status text REFERENCES states,
            created_at timestamptz DEFAULT now(), completed_at timestamptz, error_message text,
            touched int DEFAULT 0);
        CREATE TABLE steps (job bigint REFERENCES jobs, step int);
        CREATE TABLE audit (job bigint, status text);
        CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN NEW.touched := OLD.touched; RETURN NEW; END $$;
        CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN INSERT INTO audit VALUES (NEW.id, NEW.status); RETURN NULL; END $$;
        INSERT INTO jobs VALUES (1, 7, 'done', 'r', 'running'), (2, 7, 'broken', 'r', 'running'),
            (3, 7, 'open', 'r', 'running'), (4, 7, 'over', 'r', 'completed');
        INSERT INTO steps VALUES (1, 1), (2, 1);
        CREATE TRIGGER touch BEFORE UPDATE ON jobs FOR EACH ROW EXECUTE FUNCTION touch();
        CREATE TRIGGER note AFTER UPDATE OF status ON jobs FOR EACH ROW EXECUTE FUNCTION note();
        """
    ),
    "of several tenants and namespaces": Shape(
        """
        CREATE TABLE jobs (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), tenant int, space text,
            workflow_id text, run_id text, status text, created_at timestamptz DEFAULT now(),
            completed_at timestamptz, error_message text);
        INSERT INTO jobs (tenant, space, workflow_id, run_id, status)
            VALUES (7, 'blue', 'done', 'r', 'running'), (8, NULL, 'broken', 'r', 'running'),
            (7, 'blue', 'open', 'r', 'running'), (7, 'blue', 'over', 'r', 'completed'),
            (9, 'blue', 'others', 'r', 'running');
        """,
        TableMapping(TableNames(table="jobs", namespace="space"), where=read_where("tenant=7,08")),
    ),
}
