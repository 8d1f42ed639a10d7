"""Following the closings feed: what visibility says has closed is looked up among the rows.

A source of rows for the one pass. What the feed remembers is in `core/feed`; it decides nothing.
"""
