"""The side effects: admit, send, look up, record. Classes that hold their client."""
