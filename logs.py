"""What our processes log and how: one line an event, on standard error, never personal data."""

import logging


def configure_logging(level: str) -> None:
    """Log to standard error from `level` up.

    Two libraries are quieted because their ordinary lines hold what ours must not: the Twilio SDK
    logs each URL, where list filters hold phone numbers, and HTTPX does the same.
    """
    logging.basicConfig(
        level=level.upper(),
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
        force=True,
    )
    for name in ("twilio.http_client", "httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
