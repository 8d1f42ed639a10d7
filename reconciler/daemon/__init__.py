"""`reconciler run`: when passes start, what follows a failed one, and health.

What a single pass does is in `passes`; HTTP and metrics are in `web`.
"""
