"""Why an open workflow is still open: what Temporal says about it, and the rules.

Pure. `temporal/stuck` asks Temporal, `passes/stuck.py` decides what is recorded, and
`postgres/journal/stuck` stores it.
"""
