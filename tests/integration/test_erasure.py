"""Erasing a person on the whole system: afterwards a search of everything finds nothing of them."""

import asyncio
import contextlib
import io
import os
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine
from temporalio.client import Client
from temporalio.service import RPCError

from devtools.sandbox.accounts import DEFAULT_ACCOUNT_SID, DEFAULT_AUTH_TOKEN
from devtools.sandbox.magic import GOOD_SENDER
from devtools.stack.local import LocalStack
from signedfor.consent import OptIn
from signedfor.contract import CampaignMessage, Outcome, Stage
from signedfor.contract.failures import FailureClass
from signedfor.store.audit_log import AuditLog
from signedfor.store.campaign_uploads import CampaignUploads
from signedfor.store.database import open_engine
from signedfor.store.opt_ins import OptIns
from signedfor.store.people import People
from signedfor.store.suppressions import Suppressions
from tests.fixtures.stack import NewNumber
from tests.integration.support import Caller, Sent, signedfor, until, until_true

pytestmark = pytest.mark.integration

_BUSY = {"respond": "error", "code": 20429, "http_status": 429}
_REFUSED = {"respond": "error", "code": 21408, "http_status": 400}


@dataclass(frozen=True)
class Canary:
    """Who and what is searched for afterwards, and somebody else."""

    person: str
    other: str
    text: str


@pytest.fixture
def database(stack: LocalStack) -> Iterator[Engine]:
    """The stack's database."""
    engine = open_engine(stack.settings["DATABASE_URL"])
    yield engine
    engine.dispose()


@pytest.mark.timeout(240)
async def test_a_search_of_everything_finds_nothing(
    stack: LocalStack, caller: Caller, database: Engine, new_number: NewNumber, tmp_path: Path
) -> None:
    """Database files, histories, logs and Twilio's list have neither the number nor the texts.

    What stays is what the command says: opt-outs and their history, by a pseudonym.
    """
    canary = Canary(new_number(), new_number(), f"canary-{uuid.uuid4().hex}")
    person, text = canary.person, canary.text
    sent = await _everything(caller, database, canary, tmp_path)
    assert person[1:] in _found(_database_files(stack), person, text)

    dry = await signedfor(stack, "erase", person, "--dry-run", "--json")
    done = await signedfor(stack, "erase", person, "--yes", "--json", "--note", "ticket 7")

    assert (0, 0) == (dry.exit_code, done.exit_code), (dry.stderr, done.stderr)
    assert {"messages": 5, "dead_letters": 1} == dry.document["temporal"]
    for document in (dry.document, done.document):
        assert {
            "campaign_rows": 1,
            "campaign_uploads": 1,
            "held_back_messages": 1,
            "inbound_messages": 3,
            "opt_ins": 1,
            "suppression_history": 2,
            "suppressions": 2,
        }.items() <= document["database"].items()
        # Two of ours, a refused one, three of theirs, and the answer to STOP.
        assert 7 == document["twilio"]
    assert done.document["complete"]
    assert [] == _found(_database_files(stack), person, text)
    assert [] == _found((stack.folder / "logs").glob("*.log"), person, text)
    assert [] == await _histories_with(caller.client, person, text)
    for each in sent:
        assert await _is_gone(each)
    assert [] == _at_twilio(stack, person)
    assert 1 == len(_at_twilio(stack, canary.other))
    for output in (dry.stdout, dry.stderr, done.stdout, done.stderr):
        assert person[-7:] not in output

    _still_on_record(database, person)
    again = await signedfor(stack, "erase", person, "--yes", "--json")
    assert {} == again.document["database"]
    after = await caller.send(person, body="Hello again.", category="marketing")
    assert (await after.report()).outcome is Outcome.SUPPRESSED


async def test_what_is_under_way_is_canceled_first(
    breakable_stack: LocalStack, brave_caller: Caller, new_number: NewNumber
) -> None:
    """What Twilio has by then is ended without waiting for its receipt, and erased later.

    Twilio lets nobody delete a message that it is still sending: the command says so, and does the
    rest when it is run again.
    """
    person = new_number()
    breakable_stack.sandbox.settings(hold=True)
    submitted = await brave_caller.send(person)
    await submitted.reaches(Stage.AWAITING_RECEIPT)
    retrying = await brave_caller.send(person, then=_BUSY)
    await retrying.reaches(Stage.RETRYING)

    first = await signedfor(
        breakable_stack, "erase", person, "--yes", "--json", "--timeout", "5", "--by", "kim"
    )

    assert 4 == first.exit_code, first.stderr
    assert {"messages": 2} == first.document["temporal"]
    assert not first.document["complete"]
    assert "Twilio is still sending 1" in first.document["left"][0]
    for each in (submitted, retrying):
        assert await _is_gone(each)
    breakable_stack.sandbox.clear_scripts()
    breakable_stack.sandbox.settings(hold=False)
    await until_true(
        lambda: all(row["finished"] for row in submitted.accepted()), "Twilio to finish"
    )
    second = await signedfor(breakable_stack, "erase", person, "--yes", "--json")

    assert 0 == second.exit_code, second.stderr
    assert (True, 1) == (second.document["complete"], second.document["twilio"])
    assert [] == _at_twilio(breakable_stack, person)
    assert 1 == len(submitted.accepted())


async def test_without_a_worker_nothing_is_sent_after_it(
    breakable_stack: LocalStack, brave_caller: Caller, new_number: NewNumber
) -> None:
    """A workflow that cannot answer is terminated; its id sends nothing when a worker is back."""
    person = new_number()
    breakable_stack.worker.stop()
    waiting = await brave_caller.send(person)

    done = await signedfor(breakable_stack, "erase", person, "--yes", "--json", "--timeout", "2")

    assert (0, {"messages": 1}) == (done.exit_code, done.document["temporal"]), done.stderr
    breakable_stack.worker.start()
    again = await brave_caller.send(
        person, message_id=waiting.message_id, on_unknown_outcome="dead_letter"
    )
    report = await again.report()
    assert FailureClass.OUTCOME_UNKNOWN is report.failure_class
    assert [] == again.accepted()


@pytest.mark.timeout(400)
async def test_it_can_be_killed_anywhere_and_be_run_again(
    stack: LocalStack, caller: Caller, database: Engine, new_number: NewNumber, tmp_path: Path
) -> None:
    """However far it was, the next one completes it."""
    canary = Canary(new_number(), new_number(), f"canary-{uuid.uuid4().hex}")
    sent = await _everything(caller, database, canary, tmp_path)
    for seconds in (0.8, 1.1, 1.4, 1.8, 2.2, 2.7, 3.3, 4.0):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "starter", "--env-file", os.devnull),
            *("erase", canary.person, "--yes", "--json"),
            env={"PATH": "/usr/bin:/bin", **stack.settings},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), seconds)
            break
        process.kill()
        await process.wait()

    done = await signedfor(stack, "erase", canary.person, "--yes", "--json")

    assert (0, True) == (done.exit_code, done.document["complete"]), done.stderr
    for each in sent:
        assert await _is_gone(each)
    assert [] == _found(_database_files(stack), canary.person, canary.text)
    assert [] == await _histories_with(caller.client, canary.person, canary.text)
    assert [] == _at_twilio(stack, canary.person)
    assert Suppressions(database).find(canary.person, sender=GOOD_SENDER, category=None)


async def _everything(caller: Caller, engine: Engine, canary: Canary, folder: Path) -> list[Sent]:
    """One of each thing that the system can have of a person."""
    stack, person, text = caller.stack, canary.person, canary.text
    delivered = await caller.send(person, body=text)
    await delivered.report()
    failed = await caller.send(person, _REFUSED, body=text)
    waiting = await caller.send(person, body=text, send_at="2030-01-02T03:04:05Z")
    await until(lambda: _exists(failed), "the dead letter")
    file = folder / "people.csv"
    file.write_text(f"to,name\n{person},{text}\n{canary.other},Ann\n")
    campaign = await signedfor(
        stack,
        "campaign",
        "start",
        str(file),
        "--body",
        "Hi {name}!",
        "--from",
        GOOD_SENDER,
        "--yes",
        "--json",
    )
    assert campaign.exit_code == 0, campaign.stderr
    row = Sent(
        message_id=f"{campaign.document['campaign_id']}:1",
        to=person,
        stack=stack,
        client=caller.client,
    )
    await until(lambda: _ended(row), "the campaign's message to end")
    OptIns(engine).record_all(
        [OptIn(recipient=person, category="news", source="form", evidence=f"call {person}")],
        by="test",
    )
    for body in (f"What is {text}?", f"maybe stop with this {text}", "STOP"):
        stack.sandbox.inbound(person, GOOD_SENDER, body)
    held_back = await caller.send(person, body=text, category="marketing")
    await held_back.report()
    CampaignUploads(engine).add(
        io.BytesIO(f"to\n{person}\n".encode()),
        CampaignMessage.model_validate({"from": GOOD_SENDER, "body": "x"}),
        to_column="to",
        campaign_id=None,
        by="test",
    )
    assert (await waiting.progress()).status == Stage.SCHEDULED
    return [delivered, failed, waiting, row, held_back]


async def _exists(sent: Sent) -> bool:
    try:
        await sent.dead_letter()
    except RPCError:
        return False
    return True


async def _ended(sent: Sent) -> bool:
    try:
        return (await sent.progress()).status == Outcome.DELIVERED
    except Exception:  # noqa: BLE001 - it is started by the campaign, some time
        return False


def _database_files(stack: LocalStack) -> list[Path]:
    return sorted(stack.folder.glob("signedfor.db*"))


def _found(files: Any, person: str, text: str) -> list[str]:
    """Which of them is in one of the files, also where nothing is stored any more."""
    contents = b"".join(path.read_bytes() for path in files)
    return [each for each in (person[1:], text) if each.encode() in contents]


async def _histories_with(client: Client, person: str, text: str) -> list[str]:
    """The workflows whose history has it, of all that Temporal has."""
    found = []
    async for execution in client.list_workflows():
        handle = client.get_workflow_handle(execution.id, run_id=execution.run_id)
        history = b"".join(
            event.SerializeToString() for event in (await handle.fetch_history()).events
        )
        if person[1:].encode() in history or text.encode() in history:
            found.append(execution.id)
    return found


async def _is_gone(sent: Sent) -> bool:
    for handle in (sent.handle, sent.dead_letter_handle):
        with pytest.raises(RPCError, match="not found"):
            await handle.describe()
    return True


def _at_twilio(stack: LocalStack, address: str) -> list[dict[str, Any]]:
    path = f"{stack.sandbox_url}/2010-04-01/Accounts/{DEFAULT_ACCOUNT_SID}/Messages.json"
    return [
        message
        for filter_ in ("To", "From")
        for message in httpx.get(
            path,
            params={filter_: address, "PageSize": 1000},
            auth=(DEFAULT_ACCOUNT_SID, DEFAULT_AUTH_TOKEN),
        ).json()["messages"]
    ]


def _still_on_record(engine: Engine, person: str) -> None:
    """The opt-out, its history and the opt-in, withdrawn: by a pseudonym; and who has erased."""
    reference = People(engine).reference(person)
    suppressions = Suppressions(engine)
    standing = suppressions.find(person, sender=GOOD_SENDER, category=None)
    assert standing is not None
    assert reference == standing.recipient
    assert {reference} == {each.recipient for each in suppressions.history(person)}
    (opt_in,) = OptIns(engine).list_(recipient=reference, include_withdrawn=True)
    assert ("[erased]", "erasure") == (opt_in.evidence, opt_in.withdrawn_because)
    entries = AuditLog(engine).entries(reference=reference)
    assert ["person.erased", "person.erase"] == [each.action for each in entries]
    assert {f"person {reference}"} == {each.subject for each in entries}
    assert "ticket 7" == entries[0].why
