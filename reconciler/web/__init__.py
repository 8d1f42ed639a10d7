"""The HTTP side of `reconciler run`: probes and metrics, read-only.

What healthy means is decided in `daemon`.
"""
