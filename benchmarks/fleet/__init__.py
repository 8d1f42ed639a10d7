"""The distributed backfill, each `reconciler worker` in a process of its own.

The workflow runs on the dev server. The workers ask it about the rows, too (`efficiency.py`), or a
script in their own process (`exactness.py`).
"""
