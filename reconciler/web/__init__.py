"""The HTTP side of `reconciler run`: health and metrics, read-only."""
