"""`reconciler demo`: a sample application on embedded servers, before and after a pass.

Tests and benchmarks start their servers with it, too. Not used in production.
"""
