"""Fixtures shared with the tests of the activities."""

from tests.activities.conftest import connect, fake_twilio

__all__ = ["connect", "fake_twilio"]
