"""The main path: every workflow of a worker writes its own end to its row.

    Worker(client, ..., plugins=[ReconcilerPlugin()])

Imported into other people's workers and workflow modules: light, and safe in Temporal's sandbox.
The activity imports SQLAlchemy and the settings when it first runs.
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
