"""Erasing a person: from the database, from Temporal's histories, and from Twilio's records."""
