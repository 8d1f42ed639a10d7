"""The HTTP side of `reconciler run`: probes and metrics, read-only.

Serves what it is given: what healthy means is decided in `daemon`.
"""
