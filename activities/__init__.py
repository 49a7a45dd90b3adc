"""The side effects of a message: admit, send, search, record. Each class holds its clients."""
