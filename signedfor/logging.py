"""Logging for our processes: one line per event on standard error, never personal data."""

import logging
import traceback


def configure_logging(level: str) -> None:
    """Log to standard error from `level` up.

    Some libraries are limited because they log personal data: the Twilio SDK, urllib3 and HTTPX log
    URLs, whose list filters contain phone numbers; at DEBUG, Temporal's worker logs whole messages.
    """
    logging.basicConfig(
        level=level.upper(),
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
        force=True,
    )
    for name in ("twilio.http_client", "urllib3", "httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("temporalio.worker").setLevel(logging.INFO)
    # No personal data, but two lines at every start.
    logging.getLogger("alembic").setLevel(logging.WARNING)


def log_unexpected(logger: logging.Logger, error: Exception) -> None:
    """Log an exception by its type and traceback locations only.

    Its text, and the text of its causes, may quote a phone number or a message.
    """
    locations = "".join(traceback.format_tb(error.__traceback__))
    logger.error("Unexpected %s, raised through:\n%s", type(error).__name__, locations)
