"""Our own schema: the journal of changes, the history of passes, the lease; and undoing.

What stands in for it with `RECONCILER_JOURNAL=off` is here, too. The application's rows are
written in `rows`.
"""
