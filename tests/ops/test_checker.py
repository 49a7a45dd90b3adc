"""The checks in the background: each by itself, whatever becomes of the others."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest
from starlette.applications import Starlette

from ops.checker import Check, Checker, Look
from signedfor.checks import Finding, Level, fail, ok, skipped, warn
from tests.ops.conftest import Browser

FINE = ok("a", "Fine.")


def _check(name: str, look: Callable[[], Awaitable[list[Finding]]], **interval: float) -> Check:
    return Check(name=name, look=look, interval=timedelta(**(interval or {"hours": 1})))


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - nothing signals it
            await asyncio.sleep(0.005)


def _look(checker: Checker, name: str) -> Look:
    return next(each for each in checker.looks if each.name == name)


class Counted:
    """A check that counts how often it is made, and waits for leave to end."""

    def __init__(self) -> None:
        self.begun = 0
        self.may_end = asyncio.Event()

    async def __call__(self) -> list[Finding]:
        """Count, wait, and find nothing wrong."""
        self.begun += 1
        await self.may_end.wait()
        return [FINE]


async def test_what_is_found_is_sorted_worst_first() -> None:
    """With the time of each look, whatever order the checks are in."""

    async def first() -> list[Finding]:
        return [FINE, skipped("b", "no settings"), warn("c", "Slow.", "Wait.")]

    async def second() -> list[Finding]:
        return [fail("d", "Broken.", "Repair it.")]

    checker = Checker([_check("first", first), _check("second", second)])
    assert [None, None] == [each.ended_at for each in checker.looks]
    began = datetime.now(UTC)

    async with checker.running():
        await _until(lambda: all(each.ended_at for each in checker.looks))

    assert ["d", "c", "b", "a"] == [each.name for each in checker.findings]
    assert all(each.ended_at and each.ended_at >= began for each in checker.looks)


async def test_one_that_hangs_or_fails_keeps_no_other_from_being_seen(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Each of them is a warning, without the text of the exception."""

    async def hangs() -> list[Finding]:
        await asyncio.Event().wait()
        return []

    async def fails() -> list[Finding]:
        number = 5558675309
        raise ValueError(f"+1{number}")

    async def works() -> list[Finding]:
        return [FINE]

    checks = [_check("hangs", hangs), _check("fails", fails), _check("works", works)]
    checker = Checker(checks, max_wait=timedelta(milliseconds=50))

    async with checker.running():
        await _until(lambda: len(checker.findings) == 3)

    found = {each.name: each for each in checker.findings}
    assert "The check has not ended for 0.05 s." == found["hangs"].what
    assert "The check itself failed (ValueError)." == found["fails"].what
    assert [Level.WARN, Level.WARN, Level.OK] == [each.level for each in checker.findings]
    assert "ValueError" in caplog.text
    assert "+1555" not in caplog.text


async def test_one_that_ends_late_is_shown_then() -> None:
    """The warning that it has not ended goes."""
    late = Counted()
    checker = Checker([_check("late", late)], max_wait=timedelta(milliseconds=10))

    async with checker.running():
        await _until(lambda: [Level.WARN] == [each.level for each in checker.findings])
        late.may_end.set()
        await _until(lambda: [FINE] == list(checker.findings))

    assert 1 == late.begun


async def test_it_looks_again_after_a_time() -> None:
    """By itself."""
    often = Counted()
    often.may_end.set()

    async with Checker([_check("often", often, milliseconds=5)]).running():
        await _until(lambda: often.begun >= 3)


async def test_what_has_failed_is_looked_at_again_soon() -> None:
    """Such as the webhook, which may have been started after the operations page."""
    answers = [[fail("d", "Broken.", "Repair it.")], [FINE]]

    async def recovers() -> list[Finding]:
        return answers.pop(0)

    checker = Checker([_check("rarely", recovers)], after_failure=timedelta(milliseconds=5))
    async with checker.running():
        await _until(lambda: list(checker.findings) == [FINE])


async def test_it_looks_again_when_it_is_asked_to() -> None:
    """Once, however often it is asked; and never twice at the same time."""
    asked = Counted()
    checker = Checker([_check("asked", asked)])

    async with checker.running():
        await _until(lambda: asked.begun == 1)
        assert _look(checker, "asked").is_running
        checker.look_again()
        asked.may_end.set()
        await _until(lambda: not _look(checker, "asked").is_running)
        await asyncio.sleep(0)
        assert 1 == asked.begun

        first = _look(checker, "asked").ended_at
        checker.look_again()
        checker.look_again()
        await _until(lambda: _look(checker, "asked").ended_at != first)
        assert 2 == asked.begun


async def test_the_page_is_there_when_temporal_is_not(app: Starlette, looker: Browser) -> None:
    """With what the database knows, and the check that says what to do."""
    async with app.router.lifespan_context(app), asyncio.timeout(60):
        while "Temporal server" not in (answer := await looker.get("/")).text:  # noqa: ASYNC110 - in the background
            await asyncio.sleep(0.05)

    assert 200 == answer.status_code
    assert "Temporal does not answer: workers are not shown" in answer.text
    assert "messages ended in 24 h" in answer.text
    assert "Start it, or set TEMPORAL_ADDRESS." in answer.text
