"""The application's table as it is: names, types, keys, and whether it fits.

Reads the catalogue, never a row.
"""
