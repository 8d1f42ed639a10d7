"""Rows that are looked up, for the closings feed, `explain` and plans. Reads only.

Pages of running rows are the store's.
"""
