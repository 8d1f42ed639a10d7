"""The HTTP side of `reconciler run`: probes, metrics and the page, read-only.

What healthy means is decided in `daemon`, and what the page shows in `app.overview`.
"""
