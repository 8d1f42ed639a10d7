"""What `reconciler migrate` changes in a database, and the SQL it prints instead.

Nothing here runs in a pass.
"""
