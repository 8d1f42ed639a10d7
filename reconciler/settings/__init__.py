"""What an operator can set, how it is read, and how it is shown.

Plain values come out of it; below `app` nothing knows a setting.
"""
