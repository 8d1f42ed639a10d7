"""Where the rows of the main path are, and how they are written. Never imported in a workflow."""
