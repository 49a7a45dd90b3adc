"""Searches for personal data and secrets in clear, wherever they could be left."""
