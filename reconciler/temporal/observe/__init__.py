"""From a row to an observation, by describing, screening by visibility, and reading archives.

Decisions about the row belong in `core.verdict`.
"""
