"""What the measurements of `doctor` mean: pure functions from figures to findings.

Nothing here asks a server: that is `checks`.
"""
