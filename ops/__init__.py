"""The operations page: what is stuck and why, and what can be done about it."""
