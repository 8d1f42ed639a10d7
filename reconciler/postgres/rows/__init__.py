"""Reading and writing the application's rows: the scan, the guarded write, rejected rows.

What the table looks like is in `table`; our own tables are in `journal`.
"""
