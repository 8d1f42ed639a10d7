"""Connections to PostgreSQL: how they are opened, limited and explained when they fail.

Knows no table, neither the application's nor reconciler's.
"""
