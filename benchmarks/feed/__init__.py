"""`reconciler run` and its closings feed, each daemon in a process of its own.

A daemon talks to the dev server (`latency.py`) or, where a dev server could not hold as many
workflows or close them as fast, to a scripted Temporal over gRPC (`scripted_temporal.py`).
"""
