"""An application that creates its table from the mixin, with its own Alembic."""
