"""`reconciler demo`: a sample application on embedded servers, around a pass or beside the loop.

Tests and benchmarks start their servers with it, too. Not used in production.
"""
