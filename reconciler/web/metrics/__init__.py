"""Prometheus metrics of passes, of stuck rows, of the loop, and of the Temporal SDK.

`web` serves them; `docs/metrics.md` describes them.
"""
