"""The main path: every workflow of a worker writes its own end into its row.

    Worker(client, ..., plugins=[ReconcilerPlugin()])

Imported into other people's workers and workflow modules: light, and at home in Temporal's
sandbox. SQLAlchemy and the settings are loaded by the activity when it first runs.
"""

from reconciler.worker.activity import status_activity, update_workflow_execution_status
from reconciler.worker.decorator import report_outcome
from reconciler.worker.plugin import ReconcilerPlugin

__all__ = [
    "ReconcilerPlugin",
    "report_outcome",
    "status_activity",
    "update_workflow_execution_status",
]
