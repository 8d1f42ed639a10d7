"""The measurements of `doctor`: each check asks one server and returns findings.

`rules` decides what a measurement means.
"""
