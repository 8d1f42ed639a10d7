"""Files, standard streams, signals, clocks, logs, cancellation.

Knows nothing of rows, PostgreSQL or Temporal.
"""
