"""Secrets of ours, each as a variable or as a file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.leaks.canaries import Canaries, Kind

SHARED_KEY: Final = "webhooks_sharedkey_1"


@dataclass(frozen=True)
class Secrets:
    """The settings with every secret of worker, webhook and page, and those that sign requests."""

    settings: dict[str, str]
    token: str
    """Twilio's auth token."""
    shared_key: str


def secrets(canaries: Canaries, folder: Path, *, as_files: bool) -> Secrets:
    """New secrets; without `as_files`, all of them are variables."""
    kind = Kind.FILES if as_files else Kind.GIVEN
    token, shared_key = canaries.secret(kind), canaries.secret(kind)
    values = {
        "TWILIO_AUTH_TOKEN": token,
        "TWILIO_PREVIOUS_AUTH_TOKEN": canaries.secret(kind),
        "TWILIO_WEBHOOK_SHARED_KEYS": f"{SHARED_KEY}={shared_key}",
        "TEMPORAL_API_KEY": canaries.secret(kind),
        "PGPASSWORD": canaries.secret(kind),
        "OTEL_EXPORTER_OTLP_HEADERS": f"authorization={canaries.secret(kind)}",
    }
    settings = {
        "TWILIO_API_KEY_SID": "SK" + "5a" * 16,  # pragma: allowlist secret
        # Always a variable, so that there is one.
        "TWILIO_API_KEY_SECRET": canaries.secret(Kind.GIVEN),
        # By default a key for Temporal is sent over TLS only.
        "TEMPORAL_TLS": "false",
    }
    if not as_files:
        return Secrets(settings | values, token, shared_key)
    for name, value in values.items():
        (folder / name).write_text(f"{value}\n")
    settings |= {f"{name}_FILE": str(folder / name) for name in values}
    settings["TWILIO_AUTH_TOKEN"] = ""  # instead of the sandbox's
    return Secrets(settings, token, shared_key)
