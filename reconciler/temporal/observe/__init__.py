"""From a row to an observation: described, screened by visibility, read from archives.

Decides nothing about the row: that is `core.verdict`.
"""
