"""A backfill on many machines: Temporal hands out ranges of rows to `reconciler worker`.

Each range is one pass of the usual kind over its span. What a pass does is in `passes`; what a
backfill on one machine adds is in `app.backfill`.
"""
