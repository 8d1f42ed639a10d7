"""What `doctor` makes of what it has measured: pure functions from figures to findings.

No check of its own: those are in `checks`.
"""
