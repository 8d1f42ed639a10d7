"""Why an open workflow is still open: what Temporal says about it, and the rules.

Pure. Who asks Temporal: `temporal/observe/`; who keeps the answers: `postgres/journal/`.
"""
