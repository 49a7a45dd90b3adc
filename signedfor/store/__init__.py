"""The database: consent and inbound messages, on SQLite or PostgreSQL."""
