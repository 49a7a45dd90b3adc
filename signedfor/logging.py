"""What our processes log and how: one line an event, on standard error, never personal data."""

import logging


def configure_logging(level: str) -> None:
    """Log to standard error from `level` up.

    Libraries are quieted whose lines hold what ours must not: the Twilio SDK, urllib3 and HTTPX log
    URLs, where list filters hold phone numbers; at DEBUG, Temporal's worker logs whole messages.
    """
    logging.basicConfig(
        level=level.upper(),
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
        force=True,
    )
    for name in ("twilio.http_client", "urllib3", "httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("temporalio.worker").setLevel(logging.INFO)
    # Not personal, only noise: two lines at every start.
    logging.getLogger("alembic").setLevel(logging.WARNING)
