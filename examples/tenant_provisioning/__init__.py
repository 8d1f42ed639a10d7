"""A small application: FastAPI, Temporal and SQLAlchemy, with a row per workflow."""
