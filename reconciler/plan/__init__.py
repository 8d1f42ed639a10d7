"""Plan files: what a dry run would have written, for people to read and to apply later.

Knows neither PostgreSQL nor Temporal. `app` takes the lease and opens the history for an apply.
"""
