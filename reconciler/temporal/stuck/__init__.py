"""Why open workflows are open: what Temporal says about them, and what else must be asked for it.

What follows from that is decided in `core.stuck`.
"""
