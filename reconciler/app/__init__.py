"""Settings in, something that runs out: the only place that puts the parts together.

What a command or the loop does as a whole, over real servers. No SQL, no gRPC, no printing, and
no rule about a row.
"""
