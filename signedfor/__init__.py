"""Signedfor: a durable messaging orchestrator for Twilio on Temporal."""
