"""reconciler's own schema: the journal, the history of passes, the lease, stuck rows; and undo.

Also what replaces it with `RECONCILER_JOURNAL=off`. The application's rows are written in `rows`.
"""
