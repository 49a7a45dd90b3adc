"""The Chromium of this machine, driven by Playwright, which downloads a browser only if told to."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import Browser, async_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
"""What Debian, other distributions and Google call it."""
_LOOPBACK_ONLY = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"
"""A page that needs anything from elsewhere fails."""


class NoChromium(Exception):
    """No Chromium is installed."""


def find_chromium() -> str:
    """The path of the browser; NoChromium if there is none."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        raise NoChromium(f"None of these is in PATH: {', '.join(NAMES)}.")
    return found


@asynccontextmanager
async def running_chromium() -> AsyncIterator[Browser]:
    """A new Chromium without a window or profile, which reaches this machine only."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=find_chromium(), args=[_LOOPBACK_ONLY]
        )
        try:
            yield browser
        finally:
            await browser.close()
