"""Applications with a column for the workflow id."""

from __future__ import annotations

from tests.support.tables.applications.model import TOUCHED, Application, ends

WORKFLOW_ID_COLUMNS = {
    "agentclash": Application(
        ddl="""
        CREATE TABLE runs (
            id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
            status text NOT NULL DEFAULT 'draft' CHECK (status IN ('draft', 'queued',
                'provisioning', 'running', 'scoring', 'completed', 'failed', 'cancelled')),
            temporal_workflow_id text UNIQUE,
            temporal_run_id text,
            created_at timestamptz NOT NULL DEFAULT now(),
            updated_at timestamptz NOT NULL DEFAULT now(),
            finished_at timestamptz, failed_at timestamptz, cancelled_at timestamptz);
        CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN NEW.updated_at = now(); RETURN NEW; END';
        CREATE TRIGGER touch BEFORE UPDATE ON runs FOR EACH ROW EXECUTE FUNCTION touch();
        """,
        insert="INSERT INTO runs (status, temporal_workflow_id) VALUES ('scoring',"
        " 'RunWorkflow/' || $1::text)",
        workflow_id="temporal_workflow_id",
        insert_unstarted="INSERT INTO runs (status) VALUES ('queued')",
        settings={
            "RECONCILER_TABLE": "runs",
            "RECONCILER_COLUMNS__WORKFLOW_ID": "temporal_workflow_id",
            "RECONCILER_COLUMNS__RUN_ID": "temporal_run_id",
            "RECONCILER_COLUMNS__COMPLETED_AT": "finished_at",
            "RECONCILER_COLUMNS__ERROR_MESSAGE": "",
            "RECONCILER_STATUSES__RUNNING": "queued,provisioning,running,scoring",
            "RECONCILER_STATUSES__CANCELED": "cancelled",
            "RECONCILER_STATUSES__TERMINATED": "cancelled",
        },
        ends=ends("completed", "failed", "cancelled"),
        written=f"finished_at IS NOT NULL AND {TOUCHED}",
        kept=("updated_at",),
    ),
    "PostHog's data warehouse": Application(
        ddl="""
        CREATE TABLE posthog_externaldatajob (
            id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
            status varchar(400) NOT NULL,
            workflow_id varchar(400),
            workflow_run_id varchar(400),
            latest_error text,
            created_at timestamptz NOT NULL DEFAULT now(),
            updated_at timestamptz NOT NULL DEFAULT now() - interval '1 day',
            finished_at timestamptz);
        """,
        insert="INSERT INTO posthog_externaldatajob (status, workflow_id) VALUES ('Running',"
        " $1::text || '-2026-11-29T12:00:00Z')",
        workflow_id="workflow_id",
        settings={
            "RECONCILER_TABLE": "posthog_externaldatajob",
            "RECONCILER_COLUMNS__RUN_ID": "workflow_run_id",
            "RECONCILER_COLUMNS__COMPLETED_AT": "finished_at",
            "RECONCILER_COLUMNS__ERROR_MESSAGE": "latest_error",
            "RECONCILER_COLUMNS__UPDATED_AT": "updated_at",
            "RECONCILER_STATUSES__RUNNING": "Running",
            "RECONCILER_STATUSES__COMPLETED": "Completed",
            "RECONCILER_STATUSES__FAILED": "Failed",
            "RECONCILER_STATUSES__TERMINATED": "Cancelled",
        },
        ends=ends("Completed", "Failed", "Cancelled"),
        written=f"finished_at IS NOT NULL AND {TOUCHED}"
        " AND (latest_error IS NULL) = (status = 'Completed')",
        kept=("updated_at",),
    ),
    "Multiwoven": Application(
        ddl="""
        CREATE TABLE workflow_runs (
            id bigserial PRIMARY KEY,
            workflow_id uuid NOT NULL DEFAULT gen_random_uuid(),
            temporal_workflow_id varchar,
            status varchar NOT NULL DEFAULT 'pending',
            error_message text,
            finished_at timestamp(6),
            created_at timestamp(6) NOT NULL DEFAULT timezone('UTC', now()),
            updated_at timestamp(6) NOT NULL DEFAULT timezone('UTC', now()) - interval '1 day');
        """,
        insert="INSERT INTO workflow_runs (status, temporal_workflow_id)"
        " VALUES ('in_progress', $1)",
        workflow_id="temporal_workflow_id",
        insert_unstarted="INSERT INTO workflow_runs (status) VALUES ('pending')",
        settings={
            "RECONCILER_TABLE": "workflow_runs",
            "RECONCILER_COLUMNS__WORKFLOW_ID": "temporal_workflow_id",
            "RECONCILER_COLUMNS__RUN_ID": "",
            "RECONCILER_COLUMNS__COMPLETED_AT": "finished_at",
            "RECONCILER_COLUMNS__UPDATED_AT": "updated_at",
            "RECONCILER_STATUSES__RUNNING": "pending,in_progress",
            "RECONCILER_STATUSES__CANCELED": "canceled",
            "RECONCILER_STATUSES__TERMINATED": "canceled",
        },
        ends=ends("completed", "failed", "canceled"),
        written=f"finished_at >= created_at - interval '1 second' AND {TOUCHED}",
        kept=("updated_at",),
    ),
    "a Prisma schema": Application(
        ddl="""
        CREATE TYPE "ExecutionStatus" AS ENUM ('RUNNING', 'COMPLETED', 'FAILED', 'CANCELLED');
        CREATE TABLE "Execution" (
            "id" text PRIMARY KEY,
            "workflowId" text NOT NULL,
            "runId" text,
            "status" "ExecutionStatus" NOT NULL DEFAULT 'RUNNING',
            "createdAt" timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
            "updatedAt" timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP - interval '1 day',
            "finishedAt" timestamp(3),
            "error" text);
        """,
        insert="""INSERT INTO "Execution" ("id", "workflowId") VALUES ($1, 'execution:' || $1)""",
        workflow_id='"workflowId"',
        settings={
            "RECONCILER_TABLE": "Execution",
            "RECONCILER_COLUMNS__WORKFLOW_ID": "workflowId",
            "RECONCILER_COLUMNS__RUN_ID": "runId",
            "RECONCILER_COLUMNS__CREATED_AT": "createdAt",
            "RECONCILER_COLUMNS__COMPLETED_AT": "finishedAt",
            "RECONCILER_COLUMNS__ERROR_MESSAGE": "error",
            "RECONCILER_COLUMNS__UPDATED_AT": "updatedAt",
            "RECONCILER_STATUSES__RUNNING": "RUNNING",
            "RECONCILER_STATUSES__COMPLETED": "COMPLETED",
            "RECONCILER_STATUSES__FAILED": "FAILED",
            "RECONCILER_STATUSES__TERMINATED": "CANCELLED",
        },
        ends=ends("COMPLETED", "FAILED", "CANCELLED"),
        written='"finishedAt" IS NOT NULL AND "updatedAt" > "createdAt"',
        kept=("updatedAt",),
    ),
    "Django models": Application(
        ddl="""
        CREATE TABLE deployments (
            id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
            status varchar(32) NOT NULL DEFAULT 'queued',
            temporal_workflow_id varchar(255) NOT NULL DEFAULT '',
            temporal_run_id varchar(255) NOT NULL DEFAULT '',
            error_message text NOT NULL DEFAULT '',
            created_at timestamptz NOT NULL DEFAULT now(),
            updated_at timestamptz NOT NULL DEFAULT now() - interval '1 day',
            finished_at timestamptz);
        """,
        insert="INSERT INTO deployments (status, temporal_workflow_id) VALUES ('building', $1)",
        workflow_id="temporal_workflow_id",
        insert_unstarted="INSERT INTO deployments (status) VALUES ('queued')",
        settings={
            "RECONCILER_TABLE": "deployments",
            "RECONCILER_COLUMNS__WORKFLOW_ID": "temporal_workflow_id",
            "RECONCILER_COLUMNS__RUN_ID": "temporal_run_id",
            "RECONCILER_COLUMNS__COMPLETED_AT": "finished_at",
            "RECONCILER_COLUMNS__UPDATED_AT": "updated_at",
            "RECONCILER_STATUSES__RUNNING": "queued,initializing,building",
            "RECONCILER_STATUSES__COMPLETED": "ready",
            "RECONCILER_STATUSES__FAILED": "error",
            "RECONCILER_STATUSES__TERMINATED": "cancelled",
        },
        ends=ends("ready", "error", "cancelled"),
        written=f"finished_at IS NOT NULL AND {TOUCHED}"
        " AND (error_message = '') = (status = 'ready')",
        kept=("updated_at",),
    ),
}
