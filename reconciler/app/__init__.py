"""What a command or the loop does as a whole, over real servers.

Puts the adapters together. No SQL, no gRPC, no printing, no rules about rows.
"""
