"""One pass: read, screen, ask, decide, write, count. With `core`, this is the whole product.

Knows databases and Temporal as ports only; when a pass starts is for `daemon`, `cli` and `app`.
"""
