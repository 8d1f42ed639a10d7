"""Calls to Temporal: connecting, rate limits, retries, and what an error means.

What an answer says about a row is for `observe` to say.
"""
