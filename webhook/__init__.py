"""Twilio to Temporal: signatures, status callbacks, inbound messages, health."""
