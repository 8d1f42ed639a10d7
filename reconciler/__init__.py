"""Repairs workflow rows that still say "running" after their Temporal workflow has ended."""

__version__ = "0.1.0"
