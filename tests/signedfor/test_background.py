"""Work beside a context."""

import asyncio
from datetime import timedelta

import pytest

from signedfor.background import in_background


async def test_work_ends_with_its_context() -> None:
    """However much there is of it."""
    ended: list[str] = []

    async def work(name: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(name)

    async with in_background(work("one"), work("two")):
        await asyncio.sleep(0)
        assert not ended
    assert ["one", "two"] == sorted(ended)


async def test_work_may_finish_what_it_has_begun() -> None:
    """It is asked to stop, and has patience for it."""
    stopping, finished = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        await stopping.wait()
        await asyncio.sleep(0)
        finished.set()

    async with in_background(work(), stop=stopping.set, patience=timedelta(minutes=1)):
        pass
    assert finished.is_set()


async def test_work_that_does_not_stop_is_canceled() -> None:
    """After the patience."""
    canceled = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            canceled.set()
            raise

    async with in_background(work(), patience=timedelta(milliseconds=1)):
        await asyncio.sleep(0)
    assert canceled.is_set()


async def test_a_defect_of_the_work_does_not_hide_that_of_the_context() -> None:
    """The context's own error is what its caller sees."""

    async def work() -> None:
        raise RuntimeError("of the work")

    async def context() -> None:
        async with in_background(work()):
            await asyncio.sleep(0)
            raise LookupError("of the context")

    with pytest.raises(LookupError, match="of the context"):
        await context()
