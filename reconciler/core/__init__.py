"""The pure core: data, decisions, and the ports that a pass needs.

No I/O, no clock, no logging, and no import from any other package of the project.
"""
