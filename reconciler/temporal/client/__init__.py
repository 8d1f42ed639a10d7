"""Calls to Temporal: connecting, rate limits, retries, and what an error means.

What an answer means for a row belongs in `observe`.
"""
