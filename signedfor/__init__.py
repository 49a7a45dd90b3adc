"""Signedfor: a durable messaging orchestrator for Twilio on Temporal."""

from typing import Final

__version__: Final = "0.1.0"
