"""Temporal is away: receipts wait in the callback inbox, and are searched for there."""

import asyncio

import httpx
from sqlalchemy import func, select

from signedfor.contract import Outcome
from signedfor.store.database import open_engine
from signedfor.store.tables import inbox
from tests.integration.support import Sent, until_true
from tests.leaks import places
from tests.leaks.canaries import Kind
from tests.leaks.operator import Operator
from tests.leaks.places import Piece
from tests.leaks.scenario import Scenario, report_of

_LANDLINE = {"final": "undelivered", "error_code": 30006}


async def outage(scenario: Scenario) -> list[Piece]:
    """What the database and the webhook's metrics had while receipts waited."""
    stack, number = scenario.stack, scenario.canaries.number
    stack.sandbox.settings(hold=True)
    sent = [
        await scenario.send(number()),
        await scenario.send(number(), _LANDLINE, tenant="shop"),
        await scenario.caller.send(
            f"whatsapp:{number()}",
            sender=f"whatsapp:{scenario.sender}",
            body=scenario.canaries.text(Kind.TEXTS),
        ),
    ]
    for each in sent:
        await until_true(lambda each=each: bool(each.accepted()), "Twilio to have it")  # type: ignore[misc]
    async with Operator(stack, scenario.canaries) as operator:
        stack.temporal.kill()
        stack.sandbox.settings(hold=False)
        text = f"STOP {scenario.canaries.word(Kind.INBOUND_TEXTS)}"
        for body in (text, "STOP"):
            await asyncio.to_thread(stack.sandbox.inbound, sent[0].to, scenario.sender, body)
        await until_true(lambda: _waiting(scenario) >= len(sent), "receipts in the inbox")
        await _asked_meanwhile(scenario, operator, sent[0])
        found = list(places.database(stack.settings["DATABASE_URL"]))
        async with httpx.AsyncClient(trust_env=False) as http:
            metrics = (await http.get(f"{stack.webhook_url}/metrics")).content
        stack.temporal.start()
    scenario.addresses.extend(operator.addresses)
    outcomes = [(await report_of(each)).outcome for each in sent]
    assert [Outcome.DELIVERED, Outcome.UNDELIVERED, Outcome.DELIVERED] == outcomes
    await until_true(lambda: not _waiting(scenario), "the inbox to be empty")
    return [*found, Piece(places.METRICS, "during an outage", metrics)]


async def _asked_meanwhile(scenario: Scenario, operator: Operator, sent: Sent) -> None:
    """By commands, at a terminal and without one, and on the page."""
    commands, text = scenario.commands, scenario.canaries.text
    await asyncio.gather(
        commands.run("show", sent.message_id, "--reveal", "--timeout", "2", code=1),
        commands.at_terminal(
            *("send", scenario.canaries.number(), "--from", scenario.sender, "--body", "-"),
            typed=[("Type the text", f"{text(Kind.TEXTS)}\n\x04")],
            code=1,
        ),
    )
    await operator.post("/message/reveal", {"id": sent.message_id}, status=503)


def _waiting(scenario: Scenario) -> int:
    engine = open_engine(scenario.stack.settings["DATABASE_URL"])
    try:
        with engine.connect() as connection:
            return connection.execute(select(func.count()).select_from(inbox)).scalar_one()
    finally:
        engine.dispose()
