"""What a pass was asked to do, how far it is, and what it has counted.

Data only; `passes` fills it in, and everything that reports reads it.
"""
