"""Twilio refuses the account: wrong credentials, a suspension."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import update

from devtools.sandbox.client import Step
from devtools.stack.local import LocalStack
from signedfor.contract import Outcome, Stage
from signedfor.store.account_hold import AccountHold
from signedfor.store.database import open_engine, transaction
from signedfor.store.tables import account_hold
from tests.fixtures.stack import NewNumber, silent_stack
from tests.integration.support import Caller, until_true

pytestmark = pytest.mark.integration

_UNAUTHORIZED: Step = {"respond": "error", "code": 20003, "http_status": 401}
_MESSAGES = 20


def _let_it_try(stack: LocalStack) -> None:
    """As if the time until the next try had passed."""
    engine = open_engine(stack.settings["DATABASE_URL"])
    with transaction(engine) as connection:
        connection.execute(update(account_hold).values(next_try_at=datetime.now(UTC)))
    engine.dispose()


def _is_held(stack: LocalStack) -> bool:
    engine = open_engine(stack.settings["DATABASE_URL"])
    try:
        return AccountHold(engine).find() is not None
    finally:
        engine.dispose()


@pytest.mark.timeout(180)
async def test_messages_wait_until_twilio_takes_the_accounts_requests_again(
    tmp_path: Path, new_number: NewNumber
) -> None:
    """One refusal holds the account; the others make no POST, and none needs an operator."""
    with silent_stack(tmp_path) as stack:
        caller = Caller(stack=stack, client=await stack.client())
        first = await caller.send(new_number(), _UNAUTHORIZED, _UNAUTHORIZED)
        waiting = await first.reaches(Stage.WAITING)
        others = [await caller.send(new_number()) for _ in range(_MESSAGES)]
        for each in others:
            await each.reaches(Stage.WAITING)
        posts_while_held = len(stack.sandbox.ledger()["accepted"])
        # Another message may take the try: then it is accepted, and the first one is refused again.
        _let_it_try(stack)
        await until_true(lambda: not _is_held(stack), "a try to be accepted")
        while (await first.progress()).status == Stage.WAITING:
            _let_it_try(stack)
            await asyncio.sleep(0.2)
        reports = await asyncio.gather(*(each.report() for each in (first, *others)))

    assert (20003, 1) == (waiting.error_code, waiting.attempts)
    assert 0 == posts_while_held
    assert {Outcome.DELIVERED} == {each.outcome for each in reports}
    assert {None} == {each.dead_letter_id for each in reports}
    assert {1} == {each.attempts for each in reports[1:]}
