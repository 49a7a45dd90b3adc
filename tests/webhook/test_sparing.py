import logging

import pytest

from webhook.sparing import LOG_SECONDS, SparingLog


def test_counts_what_it_leaves_out(caplog: pytest.LogCaptureFixture) -> None:
    """The first of many is logged; the next after a while says how many there were between."""
    now = 100.0
    log = SparingLog(logging.getLogger("sparing"), clock=lambda: now)

    for _ in range(4):
        log.warning("%s of %d", "one", 2)
    now += LOG_SECONDS
    log.warning("again")

    assert ["one of 2", "again (3 like this left out before)"] == [
        record.getMessage() for record in caplog.records
    ]
