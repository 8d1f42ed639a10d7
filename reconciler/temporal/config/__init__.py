"""How to reach Temporal: its environment variables, `temporal.toml`, API keys.

Opens no connection.
"""
