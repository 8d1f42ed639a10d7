"""One pass: read, screen, ask, decide, write, count. With `core`, this is the whole product.

Uses the database and Temporal through ports only. `daemon`, `cli` and `app` decide when to start.
"""
