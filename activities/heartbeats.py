"""Heartbeats of an activity that is a coroutine."""

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Final

from temporalio import activity

from signedfor.background import in_background

_SECONDS: Final = 2


def heartbeats() -> AbstractAsyncContextManager[None]:
    """Tell Temporal regularly that this worker is alive."""

    async def beat() -> None:
        while True:
            activity.heartbeat()
            await asyncio.sleep(_SECONDS)

    return in_background(beat())
