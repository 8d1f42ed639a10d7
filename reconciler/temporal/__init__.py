"""The Temporal side: connecting, asking, and reading what the server answers."""
