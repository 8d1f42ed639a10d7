"""What the page shows: answers to five questions, read from the database in bounded statements.

Data only. Who renders it: `web/page/`; who adds what the loop knows of itself: `daemon/`.
"""
