"""What the page shows: answers to five questions, read from the database in bounded statements.

Data, and the words for it that commands use too; no HTML. `web/page` renders it, and `daemon` adds
what the loop knows about itself.
"""
