"""Applications that derive the workflow id from the key, or use it as the key."""

from __future__ import annotations

from tests.support.tables.applications.model import TOUCHED, Application, ends

COMPOSED_IDS = {
    "Airweave": Application(
        ddl="""
        CREATE TABLE sync_job (
            id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
            status varchar(50) NOT NULL,
            created_at timestamp NOT NULL DEFAULT timezone('UTC', now()),
            modified_at timestamp NOT NULL DEFAULT timezone('UTC', now()) - interval '1 day',
            completed_at timestamp, failed_at timestamp, error text);
        """,
        insert="INSERT INTO sync_job (status) SELECT 'running' WHERE $1::text <> ''",
        workflow_id="'sync-' || id",
        settings={
            "RECONCILER_TABLE": "sync_job",
            "RECONCILER_COLUMNS__WORKFLOW_ID": "sync-{id}",
            "RECONCILER_COLUMNS__RUN_ID": "",
            "RECONCILER_COLUMNS__ERROR_MESSAGE": "error",
            "RECONCILER_COLUMNS__UPDATED_AT": "modified_at",
            "RECONCILER_STATUSES__RUNNING": "created,pending,running,cancelling",
            "RECONCILER_STATUSES__TERMINATED": "cancelled",
        },
        ends=ends("completed", "failed", "cancelled"),
        written="completed_at IS NOT NULL AND modified_at >= created_at",
        kept=("modified_at",),
    ),
    "Instill": Application(
        ddl="""
        CREATE TYPE valid_run_status AS ENUM
            ('RUN_STATUS_UNSPECIFIED', 'RUN_STATUS_PROCESSING', 'RUN_STATUS_COMPLETED',
             'RUN_STATUS_FAILED', 'RUN_STATUS_QUEUED');
        CREATE TABLE pipeline_run (
            pipeline_trigger_uid uuid PRIMARY KEY DEFAULT gen_random_uuid(),
            status valid_run_status NOT NULL DEFAULT 'RUN_STATUS_PROCESSING',
            started_time timestamptz NOT NULL DEFAULT now(),
            completed_time timestamptz,
            error text);
        """,
        insert="INSERT INTO pipeline_run (error) SELECT NULL WHERE $1::text <> ''",
        workflow_id="'trigger-pipeline-' || pipeline_trigger_uid",
        settings={
            "RECONCILER_TABLE": "pipeline_run",
            "RECONCILER_COLUMNS__ID": "pipeline_trigger_uid",
            "RECONCILER_COLUMNS__WORKFLOW_ID": "trigger-pipeline-{pipeline_trigger_uid}",
            "RECONCILER_COLUMNS__RUN_ID": "",
            "RECONCILER_COLUMNS__CREATED_AT": "started_time",
            "RECONCILER_COLUMNS__COMPLETED_AT": "completed_time",
            "RECONCILER_COLUMNS__ERROR_MESSAGE": "error",
            "RECONCILER_STATUSES__RUNNING": "RUN_STATUS_PROCESSING,RUN_STATUS_QUEUED",
            "RECONCILER_STATUSES__COMPLETED": "RUN_STATUS_COMPLETED",
            "RECONCILER_STATUSES__FAILED": "RUN_STATUS_FAILED",
        },
        ends=ends("RUN_STATUS_COMPLETED", "RUN_STATUS_FAILED"),
        written="completed_time >= started_time",
    ),
    "PostHog's batch exports": Application(
        ddl="""
        CREATE TABLE posthog_batchexportrun (
            id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
            batch_export_id uuid NOT NULL DEFAULT gen_random_uuid(),
            status varchar(64) NOT NULL,
            latest_error text,
            data_interval_start timestamptz,
            data_interval_end timestamptz NOT NULL DEFAULT date_trunc('hour', now()),
            created_at timestamptz NOT NULL DEFAULT now(),
            finished_at timestamptz,
            last_updated_at timestamptz NOT NULL DEFAULT now() - interval '1 day');
        CREATE INDEX ON posthog_batchexportrun (batch_export_id);
        """,
        insert="INSERT INTO posthog_batchexportrun (status) SELECT 'Running' WHERE $1::text <> ''",
        workflow_id="batch_export_id || to_char(data_interval_end AT TIME ZONE 'UTC',"
        """ '"-"YYYY-MM-DD"T"HH24:MI:SS"Z"')""",
        settings={
            "RECONCILER_TABLE": "posthog_batchexportrun",
            "RECONCILER_COLUMNS__WORKFLOW_ID": "{batch_export_id}-{data_interval_end}",
            "RECONCILER_COLUMNS__RUN_ID": "",
            "RECONCILER_COLUMNS__COMPLETED_AT": "finished_at",
            "RECONCILER_COLUMNS__ERROR_MESSAGE": "latest_error",
            "RECONCILER_COLUMNS__UPDATED_AT": "last_updated_at",
            "RECONCILER_STATUSES__RUNNING": "Starting,Running",
            "RECONCILER_STATUSES__COMPLETED": "Completed",
            "RECONCILER_STATUSES__FAILED": "Failed",
            "RECONCILER_STATUSES__CANCELED": "Cancelled",
            "RECONCILER_STATUSES__TERMINATED": "Terminated",
            "RECONCILER_STATUSES__TIMED_OUT": "TimedOut",
        },
        ends=ends("Completed", "Failed", "Terminated"),
        written="finished_at IS NOT NULL AND last_updated_at >= created_at",
        kept=("last_updated_at",),
    ),
    "Formance": Application(
        ddl="""
        CREATE TABLE workflow_instances (
            id text PRIMARY KEY,
            created_at timestamp NOT NULL DEFAULT now(),
            updated_at timestamp NOT NULL DEFAULT now() - interval '1 day',
            terminated bool,
            terminated_at timestamp,
            error varchar);
        """,
        insert="INSERT INTO workflow_instances (id) VALUES ($1)",
        workflow_id="id || '-main'",
        settings={
            "RECONCILER_TABLE": "workflow_instances",
            "RECONCILER_COLUMNS__WORKFLOW_ID": "{id}-main",
            "RECONCILER_COLUMNS__RUN_ID": "",
            "RECONCILER_COLUMNS__STATUS": "terminated",
            "RECONCILER_COLUMNS__COMPLETED_AT": "terminated_at",
            "RECONCILER_COLUMNS__ERROR_MESSAGE": "error",
            "RECONCILER_COLUMNS__UPDATED_AT": "updated_at",
            "RECONCILER_STATUSES__RUNNING": '["false", null]',
            "RECONCILER_STATUSES__COMPLETED": "true",
            "RECONCILER_STATUSES__FAILED": "true",
        },
        ends=ends("true", "true"),
        written=f"terminated_at IS NOT NULL AND {TOUCHED}",
        kept=("updated_at",),
    ),
    "Fred": Application(
        ddl="""
        CREATE TABLE sched_workflow_tasks (
            workflow_id text PRIMARY KEY,
            state text NOT NULL,
            created_at timestamptz NOT NULL DEFAULT now(),
            updated_at timestamptz NOT NULL DEFAULT now() - interval '1 day',
            last_error text);
        """,
        insert="INSERT INTO sched_workflow_tasks VALUES ($1, 'RUNNING')",
        workflow_id="workflow_id",
        settings={
            "RECONCILER_TABLE": "sched_workflow_tasks",
            "RECONCILER_COLUMNS__ID": "workflow_id",
            "RECONCILER_COLUMNS__WORKFLOW_ID": "workflow_id",
            "RECONCILER_COLUMNS__RUN_ID": "",
            "RECONCILER_COLUMNS__STATUS": "state",
            "RECONCILER_COLUMNS__COMPLETED_AT": "",
            "RECONCILER_COLUMNS__ERROR_MESSAGE": "last_error",
            "RECONCILER_COLUMNS__UPDATED_AT": "updated_at",
            "RECONCILER_STATUSES__RUNNING": "PENDING,RUNNING",
            "RECONCILER_STATUSES__COMPLETED": "COMPLETED",
            "RECONCILER_STATUSES__FAILED": "FAILED",
        },
        ends=ends("COMPLETED", "FAILED"),
        written=TOUCHED,
        kept=("updated_at",),
    ),
    "Scale Agentex": Application(
        ddl="""
        CREATE TYPE taskstatus AS ENUM
            ('CANCELED', 'COMPLETED', 'FAILED', 'RUNNING', 'TERMINATED', 'TIMED_OUT');
        CREATE TABLE tasks (
            id text PRIMARY KEY,
            status taskstatus,
            status_reason text,
            created_at timestamptz DEFAULT now(),
            updated_at timestamptz DEFAULT now() - interval '1 day');
        """,
        insert="INSERT INTO tasks VALUES ($1, 'RUNNING')",
        workflow_id="id",
        settings={
            "RECONCILER_TABLE": "tasks",
            "RECONCILER_COLUMNS__ID": "id",
            "RECONCILER_COLUMNS__WORKFLOW_ID": "id",
            "RECONCILER_COLUMNS__RUN_ID": "",
            "RECONCILER_COLUMNS__COMPLETED_AT": "",
            "RECONCILER_COLUMNS__ERROR_MESSAGE": "status_reason",
            "RECONCILER_COLUMNS__UPDATED_AT": "updated_at",
            "RECONCILER_STATUSES__RUNNING": "RUNNING",
            "RECONCILER_STATUSES__COMPLETED": "COMPLETED",
            "RECONCILER_STATUSES__FAILED": "FAILED",
            "RECONCILER_STATUSES__CANCELED": "CANCELED",
            "RECONCILER_STATUSES__TERMINATED": "TERMINATED",
            "RECONCILER_STATUSES__TIMED_OUT": "TIMED_OUT",
        },
        ends=ends("COMPLETED", "FAILED", "TERMINATED"),
        written=TOUCHED,
        kept=("updated_at",),
    ),
    "ShipSec": Application(
        ddl="""
        CREATE TABLE workflow_runs (
            run_id text PRIMARY KEY,
            workflow_id uuid NOT NULL DEFAULT gen_random_uuid(),
            temporal_run_id text,
            status text,
            created_at timestamptz NOT NULL DEFAULT now(),
            updated_at timestamptz NOT NULL DEFAULT now() - interval '1 day',
            close_time timestamptz);
        """,
        insert="INSERT INTO workflow_runs (run_id) VALUES ($1)",
        workflow_id="run_id",
        settings={
            "RECONCILER_TABLE": "workflow_runs",
            "RECONCILER_COLUMNS__ID": "run_id",
            "RECONCILER_COLUMNS__WORKFLOW_ID": "run_id",
            "RECONCILER_COLUMNS__RUN_ID": "temporal_run_id",
            "RECONCILER_COLUMNS__COMPLETED_AT": "close_time",
            "RECONCILER_COLUMNS__ERROR_MESSAGE": "",
            "RECONCILER_COLUMNS__UPDATED_AT": "updated_at",
            "RECONCILER_STATUSES__RUNNING": '["RUNNING", null]',
            "RECONCILER_STATUSES__COMPLETED": "COMPLETED",
            "RECONCILER_STATUSES__FAILED": "FAILED",
            "RECONCILER_STATUSES__TERMINATED": "TERMINATED",
        },
        ends=ends("COMPLETED", "FAILED", "TERMINATED"),
        written=f"close_time IS NOT NULL AND {TOUCHED}",
        kept=("updated_at",),
    ),
}
