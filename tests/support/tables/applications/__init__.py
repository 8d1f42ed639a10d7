"""Tables of real applications that start Temporal workflows: facts, and none of their code."""
