"""Histories of workflows that reported their end, and the code that recorded them."""
