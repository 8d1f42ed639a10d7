"""Failures of workflows as one line of text: described, decoded, redacted.

Used by passes and by the worker's side alike. Makes no call to Temporal.
"""
