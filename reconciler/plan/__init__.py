"""Plan files: what a dry run would have written, to be read by people and applied later.

Knows neither PostgreSQL nor Temporal. What surrounds an apply (lease, history) is in `app`.
"""
