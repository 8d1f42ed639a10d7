"""What the commands print for people: a few short tables, coloured on a terminal.

It formats what it is given. It asks no server and decides no exit code: that is `cli`.
"""
