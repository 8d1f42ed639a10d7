"""What does not fit about a table: its columns, its values, the role that writes it.

Each check yields problems, all of which a start reports at once. Reads the catalogue, never a row.
"""
