"""`reconciler run`: when passes start, what follows a failed one, health, and the data of its page.

What a single pass does is in `passes`; HTTP, metrics and HTML are in `web`.
"""
