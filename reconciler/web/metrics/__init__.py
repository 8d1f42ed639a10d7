"""Prometheus: what passes did, how things stand, and the Temporal SDK's own figures.

Figures only: they are served by `web`, and described in `docs/metrics.md`.
"""
