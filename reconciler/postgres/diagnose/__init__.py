"""Measurements for `doctor`: the server, a pooler, plans, samples. Reads only.

What they mean is for `doctor` to say.
"""
