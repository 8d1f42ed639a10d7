"""The pure core: data, decisions, and the ports that a pass needs.

No I/O, no clock, no logging, and no imports from other packages of the project.
"""
