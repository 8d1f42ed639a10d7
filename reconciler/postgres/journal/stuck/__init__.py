"""Running rows that are stuck, or about to be lost: recorded by passes, read by people.

Only reconciler's own tables are written here, never the application's row.
"""
