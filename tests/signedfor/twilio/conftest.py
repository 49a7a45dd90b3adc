"""Fixtures that the Twilio client shares with the activities."""

from tests.activities.conftest import connect, fake_twilio

__all__ = ["connect", "fake_twilio"]
