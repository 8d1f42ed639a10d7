"""Plan files: what a dry run would have written, to be read by people and applied later."""
