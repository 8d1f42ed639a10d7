"""`reconciler demo`: a sample application on embedded servers, before and after a pass.

Also where tests and benchmarks get their embedded Temporal server from. No part of production.
"""
