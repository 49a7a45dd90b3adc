"""The same job written with others: Celery, DBOS, Restate, and Temporal by its textbook."""
