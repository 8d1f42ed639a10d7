"""The PostgreSQL side: every statement of the product is in here, one package for each subject.

No rule about a row: those are in `core`. No call to Temporal.
"""
