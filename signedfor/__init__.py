"""Signedfor: a durable messaging orchestrator for Twilio on Temporal."""

__version__ = "0.1.0"
