"""What `doctor` measures: each check asks one side and returns findings.

What a measurement means is in `rules`.
"""
