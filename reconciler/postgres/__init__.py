"""The PostgreSQL side: the application's table, our journal, the statements."""
