"""The operations page in a real browser."""
