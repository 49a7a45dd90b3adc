"""Work that runs beside a context, and ends with it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import timedelta


@contextlib.asynccontextmanager
async def in_background(
    *work: Coroutine[object, object, None],
    stop: Callable[[], None] = lambda: None,
    patience: timedelta = timedelta(0),
) -> AsyncIterator[None]:
    """Run `work` while the context is open; when it closes, cancel it and wait for its end.

    Work that can finish what it has begun is asked to by `stop`, and has `patience` for it.
    """
    tasks = [asyncio.create_task(each) for each in work]
    try:
        yield
    finally:
        stop()
        if patience:
            await asyncio.wait(tasks, timeout=patience.total_seconds())
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
