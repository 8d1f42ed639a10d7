"""The page at `/`: who may see it, its routes, how it is rendered. GET only; it writes nothing.

No statement and no call: its data comes from a `PageSource`.
"""
