"""Prometheus: what passes did, how things stand, and the Temporal SDK's own figures."""
