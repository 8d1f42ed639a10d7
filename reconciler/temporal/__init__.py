"""The Temporal side: connecting, asking, and reading what the server answers.

No rule about a row: those are in `core`. No statement to PostgreSQL.
"""
