"""The one way in which times are written for programs: ISO 8601, in UTC, with a `Z`."""

from datetime import UTC, datetime


def iso8601(moment: datetime) -> str:
    """Such as 2026-11-21T20:15:00Z."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
