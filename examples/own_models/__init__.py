"""An application whose own Alembic makes the table, from the mixin."""
