"""Reports after the close: the row is written once Temporal has closed the workflow's run.

The workflow does nothing but hand a notice to the worker's process (`notice`); the process waits
for the close and writes the row (`backlog`, `finisher`). Light: only the last two, which the plugin
imports when a worker starts, load the database side.
"""
