"""Reading and writing the application's rows: the scan, the guarded write, rejected rows.

The table's definition is in `table`; reconciler's own tables are in `journal`.
"""
