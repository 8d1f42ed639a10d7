"""`reconciler stuck`: the rows whose workflows are not healthy, from the record or from Temporal.

Neither writes anything. The record needs only the database.
"""
