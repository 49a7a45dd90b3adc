"""The checks of `signedfor doctor`, made in the background: a page shows what was found last."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

from anyio import to_thread
from sqlalchemy import Engine
from temporalio.client import Client

from ops.settings import OpsSettings
from signedfor.background import in_background
from signedfor.checks import Finding, Level, warn
from signedfor.checks.account import check_account
from signedfor.checks.database import check_database
from signedfor.checks.temporal import check_temporal
from signedfor.checks.webhook import check_webhook
from signedfor.logging import log_unexpected
from signedfor.store.database import DatabaseUnavailable
from signedfor.store.rate_limiter import RateLimiter

_log = logging.getLogger(__name__)

OFTEN: Final = timedelta(minutes=1)
"""How often our own parts are checked, and whatever has failed."""
RARELY: Final = timedelta(minutes=15)
"""How often Twilio's API is asked, and the webhook called by its public URL: every look is some
requests to Twilio for each sender."""
MAX_WAIT: Final = timedelta(seconds=60)
"""After this time a page says that a check has not ended."""
_WORST_FIRST: Final = (Level.FAIL, Level.WARN, Level.SKIPPED, Level.OK)


@dataclass(frozen=True, kw_only=True)
class Check:
    """Something that is looked at, by itself."""

    name: str
    look: Callable[[], Awaitable[list[Finding]]]
    interval: timedelta


@dataclass(kw_only=True)
class Look:
    """The last look at something."""

    name: str
    ended_at: datetime | None = None
    """None until the first one has ended."""
    is_running: bool = False
    findings: Sequence[Finding] = ()


class Checker:
    """Looks at each by itself, so that one that hangs or fails keeps no other from being seen."""

    def __init__(
        self,
        checks: Sequence[Check],
        *,
        max_wait: timedelta = MAX_WAIT,
        after_failure: timedelta = OFTEN,
    ) -> None:
        """`after_failure`: how soon what has failed is looked at again, at the latest."""
        self._checks = checks
        self._after_failure = after_failure
        self._max_wait = max_wait
        self._again = {each.name: asyncio.Event() for each in checks}
        self._looks = {each.name: Look(name=each.name) for each in checks}

    def running(self) -> AbstractAsyncContextManager[None]:
        """Look now, and then again and again, until the block ends."""
        return in_background(*(self._keep_looking(each) for each in self._checks))

    def look_again(self) -> None:
        """Look at all as soon as possible; what is being looked at already is not, twice."""
        for each in self._checks:
            if not self._looks[each.name].is_running:
                self._again[each.name].set()

    @property
    def looks(self) -> Sequence[Look]:
        """The last look at each."""
        return tuple(self._looks.values())

    @property
    def findings(self) -> Sequence[Finding]:
        """What was found, worst first."""
        found = [finding for look in self.looks for finding in look.findings]
        return sorted(found, key=lambda each: _WORST_FIRST.index(each.level))

    async def _keep_looking(self, check: Check) -> None:
        look, again = self._looks[check.name], self._again[check.name]
        while True:
            again.clear()
            look.is_running = True
            looking = asyncio.ensure_future(check.look())
            try:
                ended, _ = await asyncio.wait({looking}, timeout=self._max_wait.total_seconds())
                if not ended:
                    look.findings = [_not_ended(check.name, self._max_wait)]
                    # There is never a second one besides it.
                    await asyncio.wait({looking})
                look.findings = _result(check.name, looking)
            finally:
                looking.cancel()
            look.is_running, look.ended_at = False, datetime.now(UTC)
            has_failed = any(each.level is Level.FAIL for each in look.findings)
            wait = min(check.interval, self._after_failure) if has_failed else check.interval
            try:
                async with asyncio.timeout(wait.total_seconds()):
                    await again.wait()
            except TimeoutError:
                pass


def _not_ended(name: str, after: timedelta) -> Finding:
    what = f"The check has not ended for {after.total_seconds():g} s."
    return warn(name, what, "See whether it answers; `signedfor doctor` makes the same check.")


def _result(name: str, looking: "asyncio.Future[list[Finding]]") -> list[Finding]:
    error = looking.exception()
    if error is None:
        return looking.result()
    if isinstance(error, Exception):
        log_unexpected(_log, error)
    what = f"The check itself failed ({type(error).__name__})."
    return [warn(name, what, "The log of the operations page says where.")]


def checks_of(settings: OpsSettings, client: Client, engine: Engine) -> tuple[Check, ...]:
    """What `signedfor doctor` checks."""
    days = settings.attempt_record_days
    return (
        Check(
            name="Temporal",
            look=lambda: check_temporal(client, fix=False, attempt_record_days=days),
            interval=OFTEN,
        ),
        Check(
            name="database",
            look=_in_thread(lambda: check_database(settings.database_url)),
            interval=OFTEN,
        ),
        Check(
            name="Twilio",
            look=_in_thread(lambda: check_account(settings, _senders(engine))),
            interval=RARELY,
        ),
        Check(
            name="webhook",
            look=_in_thread(lambda: check_webhook(settings)),
            interval=RARELY,
        ),
    )


def _in_thread(
    function: Callable[[], list[Finding]],
) -> Callable[[], Awaitable[list[Finding]]]:
    """At the end of the process, a thread that hangs is not waited for."""
    return partial(to_thread.run_sync, function, abandon_on_cancel=True)


def _senders(engine: Engine) -> list[str]:
    try:
        return [each.sender for each in RateLimiter(engine).states()]
    except DatabaseUnavailable:
        return []  # the check of the database says why
