"""reconciler's own schema: the journal of changes, the history of passes, the lease; and undo.

Also what replaces it with `RECONCILER_JOURNAL=off`. The application's rows are written in `rows`.
"""
