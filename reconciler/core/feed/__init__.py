"""The closings feed: which closings to list, and what is remembered of those that were listed.

Pure, as the rest of the core. A closing is a reason to look at a row, never evidence for a write.
"""
