"""Histories of workflows that reported their end, and what it takes to make them."""
