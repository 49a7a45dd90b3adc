"""Twilio's vocabulary (codes, statuses, numbers, segments, keywords) and its HTTP client."""
