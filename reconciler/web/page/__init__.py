"""The page at `/`: who may see it, its routes, how it is rendered. GET only; it writes nothing."""
