"""Fixtures that the Twilio client shares with the activities."""

from tests.activities.conftest import connect, edge

__all__ = ["connect", "edge"]
