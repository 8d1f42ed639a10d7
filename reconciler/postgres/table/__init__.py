"""The application's table as it is: names, types, keys, and what is wrong with it.

Reads the catalogue, never a row.
"""
