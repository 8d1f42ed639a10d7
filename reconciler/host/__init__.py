"""The machine it runs on: files, standard streams, signals, clocks, logs, cancellation.

Knows nothing of rows, PostgreSQL or Temporal.
"""
