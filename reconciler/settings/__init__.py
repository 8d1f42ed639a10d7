"""What an operator can set, how it is read, and how it is shown.

Only `app` and the packages above it know settings; the rest get plain values.
"""
