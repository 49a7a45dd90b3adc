"""Everything that the system does, once, with values that can be found again."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
from google.protobuf import json_format
from temporalio import workflow
from temporalio.client import Client
from temporalio.service import RPCError
from temporalio.worker import Worker

from devtools.stack.local import LocalStack
from signedfor.contract import (
    EVENTS_PATH,
    InboundMessage,
    MessageReport,
    Outcome,
    campaign_workflow_id,
    inbound_workflow_id,
    message_workflow_id,
)
from tests.integration.support import Caller, Sent, start_by_command, until
from tests.leaks.canaries import Canaries, Kind
from tests.leaks.commands import Commands
from tests.leaks.operator import Operator, hidden
from tests.leaks.secrets import Secrets

INBOUND_WORKFLOW = "AnswerForTheScan"
INBOUND_QUEUE = "scan-replies"

_REFUSED = {"respond": "error", "code": 21408, "http_status": 400}
_BUSY = {"respond": "error", "code": 20429, "http_status": 429}
_LANDLINE = {"final": "undelivered", "error_code": 30006}
_LOST = {"respond": "drop_after_accept", "callbacks": {"lost": True}}
_BULK: Final = "bulk"
"""The tenant of the dead letters that are decided upon together."""
_END: Final = "\x04"
"""Ctrl-D, which ends what is typed."""
_BIG_FILE = 1_200_000
"""Bytes; a web framework puts uploads from one megabyte on into a temporary file."""


@workflow.defn(name=INBOUND_WORKFLOW, sandboxed=False)
class AnswerForTheScan:
    """A workflow of a caller's own, for inbound messages."""

    @workflow.run
    async def run(self, message: InboundMessage) -> str:
        """Return the text."""
        return message.text


@dataclass
class Scenario:
    """Runs everything. What it does with a value makes the value's kind."""

    stack: LocalStack
    client: Client
    files: Path
    secrets: Secrets
    codec_token: str
    canaries: Canaries
    sender: str
    addresses: list[bytes] = field(default_factory=list)
    """Of the operations page."""

    def __post_init__(self) -> None:
        """Make what several steps share."""
        self.caller = Caller(stack=self.stack, client=self.client)
        self.commands = Commands(self.stack, self.files)

    async def run(self) -> None:
        """Do everything; an assertion fails if something did not go as it should."""
        self.stack.sandbox.settings(
            events_url=self.stack.webhook_url + EVENTS_PATH, service_sender=self.sender
        )
        async with Worker(self.client, task_queue=INBOUND_QUEUE, workflows=[AnswerForTheScan]):
            await asyncio.gather(self._messages(), self._inbound(), self._campaign())
            await asyncio.gather(self._consent(), self._bulk_job())
            await self._page()
            await self._codec_server()
            await self._erased()

    async def send(self, to: str, *steps: Any, kind: str = Kind.TEXTS, **fields: Any) -> Sent:
        """Send a message with a value in every field that has text."""
        return await self.caller.send(
            to,
            *steps,
            sender=self.sender,
            **{
                "body": self.canaries.text(kind),
                "tags": {"tag": self.canaries.word(kind)},
                "media_urls": [f"https://media.test/{self.canaries.word(kind)}"],
                **fields,
            },
        )

    async def _messages(self) -> None:
        number = self.canaries.number
        delivered = await self.send(number(), tenant="shop", category="news")
        busy = await self.send(number(), _BUSY)
        refused = [await self.send(number(), _REFUSED) for _ in range(3)]
        landline = await self.send(number(), _LANDLINE)
        unknown = await self.send(number(), _LOST)
        waiting = await self.send(
            number(),
            send_at="2030-01-02T03:04:05Z",
            send_window={"opens": "09:00", "closes": "20:00", "time_zone": "America/New_York"},
        )
        template = await self.send(
            number(),
            body=None,
            media_urls=[],
            content_sid="HX" + "5a" * 16,
            content_variables={"1": self.canaries.text(Kind.TEXTS)},
        )
        channel = await self.caller.send(
            f"whatsapp:{number()}",
            sender=f"whatsapp:{self.sender}",
            body=self.canaries.text(Kind.TEXTS),
        )
        ended = await asyncio.gather(
            *(report_of(each) for each in (delivered, busy, *refused, landline, unknown)),
            *(report_of(each) for each in (template, channel)),
        )
        assert [
            *(Outcome.DELIVERED, Outcome.DELIVERED, *[Outcome.FAILED] * 3, Outcome.UNDELIVERED),
            *(Outcome.DELIVERED, Outcome.DELIVERED, Outcome.DELIVERED),
        ] == [each.outcome for each in ended]
        self.waiting, self.refused, self.delivered = waiting, refused, delivered
        await asyncio.gather(self._in_clear(), self._sends(), self._shown())
        await self._decided()

    async def _in_clear(self) -> None:
        """A caller in another language, without the key."""
        words = {
            "to": self.canaries.number(Kind.IN_CLEAR),
            "body": self.canaries.text(Kind.IN_CLEAR),
        }
        document = json.dumps({**words, "from": "+15005550006"})
        done = await start_by_command(self.stack, message_workflow_id("in-clear"), document)
        assert 0 == done.exit_code, done.stderr
        sent = Sent(message_id="in-clear", to=words["to"], stack=self.stack, client=self.client)
        assert Outcome.DELIVERED is (await report_of(sent)).outcome

    async def _sends(self) -> None:
        run, number, text = self.commands.run, self.canaries.number, self.canaries.text
        from_ = ("--from", self.sender)
        await run("send", number(), "--body", text(Kind.TEXTS), *from_, "--wait")
        body = text(Kind.TEXTS)
        await run("send", number(), "--body", "-", "--json", *from_, stdin=body)
        typed = [("Type the text", f"{text(Kind.TEXTS)}\n{_END}")]
        send = ("send", number(), "--body", "-", *from_, "--wait")
        await self.commands.at_terminal(*send, typed=typed)
        await run("send", number()[:-1] + "x", "--body", text(Kind.TEXTS), code=2)
        await run("doctor")
        await run("senders", "rate", self.sender, "50")
        await run("senders", "list")

    async def _shown(self) -> None:
        run, at_terminal = self.commands.run, self.commands.at_terminal
        delivered, refused = self.delivered.message_id, self.refused[0].message_id
        await at_terminal("show", delivered)
        await at_terminal("show", delivered, "--reveal", reveals=True)
        await run("show", delivered, "--reveal", "--json", reveals=True)
        await run("show", refused)
        await run("messages", "list", "--to", self.delivered.to)
        await run("dead-letters", "list", "--json")
        await at_terminal("dead-letters", "show", refused)
        await run("dead-letters", "show", refused, "--reveal", reveals=True)

    async def _decided(self) -> None:
        run, text = self.commands.run, self.canaries.text
        first, second, _ = (each.message_id for each in self.refused)
        new = ("--body", "-", "--note", text(Kind.NOTES))
        await run("dead-letters", "retry", first, "--yes", *new, stdin=text(Kind.TEXTS))
        await run("dead-letters", "discard", second, "--yes", "--note", text(Kind.NOTES))

    async def _inbound(self) -> None:
        canaries, sandbox = self.canaries, self.stack.sandbox
        texts = [
            *(f"{each} {canaries.word(Kind.INBOUND_TEXTS)}" for each in ("STOP", "Where is it?")),
            f"please stop texting me {canaries.text(Kind.INBOUND_TEXTS)}",
            f"stop it or I call my lawyer {canaries.text(Kind.INBOUND_TEXTS)}",
        ]
        written = [
            await asyncio.to_thread(
                sandbox.inbound, canaries.number(), self.sender, text, media=["image/png"]
            )
            for text in (*texts, "STOP", "START", "HELP")
        ]
        sids = [each["sid"] for each in written]
        for sid in sids:
            handle = self.client.get_workflow_handle(inbound_workflow_id(sid))
            await until(_exists(handle.result), "the workflow of an inbound message")
        run = self.commands.run
        await run("inbound", "list")
        await run("inbound", "list", "--reveal", reveals=True)
        pending = json.loads(await run("opt-outs", "review", "--json"))["reviews"]
        assert 2 <= len(pending)
        await run("opt-outs", "review", pending[0]["message_sid"], "--opt-out")
        await run("opt-outs", "review", "--all", "--reveal", reveals=True)
        await run("opt-outs", "catch-up")
        await self.commands.at_terminal(
            *("opt-outs", "review", "--interactive"),
            typed=[("Continue?", "y\n"), ("[q] quit", "q\n")],
        )
        self.pending_review = pending[1]["message_sid"]

    async def _campaign(self) -> None:
        canaries, run = self.canaries, self.commands.run
        rows = [f"{canaries.number()},{canaries.word(Kind.CELLS)}" for _ in range(8)]
        file = self.commands.file("people.csv", "to,name", *rows)
        body = canaries.word(Kind.TEXTS) + " for {name}"
        options = ("--body", body, "--from", self.sender)
        await run("campaign", "start", file, *options, "--dry-run")
        await run("campaign", "start", file, *options, "--id", "scan", "--yes")
        again = ("campaign", "start", file, *options)
        await self.commands.at_terminal(*again, typed=[("Continue?", "n\n")], code=3)
        bad = self.commands.file("bad.csv", "to,name", f"12{canaries.number()},Eve")
        await run("campaign", "start", bad, *options, code=2)
        await self._is_over("scan")
        await run("campaign", "report", "scan")
        await run("campaign", "report", "scan", "--csv", str(self.files / "report.csv"))

    async def _is_over(self, campaign_id: str) -> None:
        handle = self.client.get_workflow_handle(campaign_workflow_id(campaign_id))
        await until(_exists(handle.result), "the campaign to finish")
        await self.commands.run("campaign", "status", campaign_id, "--json")

    async def _consent(self) -> None:
        canaries, run, person = self.canaries, self.commands.run, self.canaries.number()
        note = canaries.text(Kind.NOTES)
        await run("opt-outs", "add", person, "--note", note)
        lifted = ("opt-outs", "remove", person, "--reason", "opted_out")
        await self.commands.at_terminal(*lifted, typed=[("Continue?", "n\n")], code=3)
        await run("opt-outs", "add", canaries.number(), "--sender", self.sender)
        held_back = await self.send(person)
        assert Outcome.SUPPRESSED is (await report_of(held_back)).outcome
        await run("opt-outs", "list")
        await self.commands.at_terminal("opt-outs", "history", person)
        await run("opt-outs", "export", reveals=True)
        options = ("--category", "news", "--source", "form", "--evidence", note)
        await run("opt-ins", "add", canaries.number(), *options)
        await run("opt-ins", "list")
        row = f"{canaries.number()},news,form,2026-01-02T03:04:05Z,{canaries.word(Kind.NOTES)},v1"
        header = "recipient,category,source,opted_in_at,evidence,wording"
        await run("opt-ins", "import", self.commands.file("opt-ins.csv", header, row))
        bad = row.replace("2026", f"x{canaries.word(Kind.NOTES)}")
        await run("opt-ins", "import", self.commands.file("bad-opt-ins.csv", header, bad), code=2)

    async def _bulk_job(self) -> None:
        """Many dead letters, by one command at a terminal, stopped, and by one form."""
        canaries = self.canaries
        letters = [
            await self.send(canaries.number(), _REFUSED, then=_REFUSED, tenant=_BULK)
            for _ in range(4)
        ]
        for each in letters:
            await report_of(each)
            await until(_exists(each.dead_letter), "the dead letter")
        which = ("--tenant", _BULK)
        note = ("--note", canaries.text(Kind.NOTES))
        await self.commands.run("dead-letters", "retry", *which, "--preview")
        await self.commands.at_terminal(
            *("dead-letters", "retry", *which, *note, "--from", self.sender, "--body", "-"),
            typed=[
                ("Type the text", f"{canaries.text(Kind.TEXTS)}\n{_END}"),
                ("Continue?", "y\n"),
            ],
        )
        [job] = json.loads(await self.commands.run("dead-letters", "jobs", "--json"))["jobs"]
        assert len(letters) == job["tally"]["resolved"]
        await self.commands.run("dead-letters", "job", job["job_id"])
        await self.commands.run("dead-letters", "stop", job["job_id"], code=2)

    async def _bulk_job_on_page(self, operator: Operator, why: dict[str, str]) -> None:
        """What has failed once more is discarded."""
        fields = {"tenant": _BULK, "action": "discard", **why}
        await operator.get("/dead-letters", tenant=_BULK)
        preview = hidden((await operator.post("/dead-letters/preview", fields)).text)
        await operator.post("/dead-letters/start", preview)
        await operator.get("/dead-letters/job", id=preview["job_id"])
        await operator.get("/dead-letters/jobs")

    async def _page(self) -> None:
        canaries, why = self.canaries, {"why": self.canaries.text(Kind.NOTES)}
        async with Operator(self.stack, canaries) as operator:
            self.addresses = operator.addresses
            person, post = canaries.number(), operator.post
            for path in ("/", "/messages", "/dead-letters", "/campaigns", "/opt-outs", "/senders"):
                await operator.get(path)
            await post("/messages/search", {"to": self.delivered.to})
            await post("/messages/search", {"to": person + "99999999"}, status=400)
            await post("/opt-outs/search", {"recipient": person + "99999999"}, status=400)
            await post("/opt-outs/search", {"recipient": person})
            evidence = canaries.text(Kind.NOTES)
            await post("/opt-outs/add", {"recipient": person, "evidence": evidence})
            page = await post("/opt-outs/search", {"recipient": person})
            await post("/opt-outs/person/reveal", {"person": hidden(page.text)["person"], **why})
            await operator.get("/message", id=self.delivered.message_id)
            await post("/message/reveal", {"id": self.delivered.message_id, **why})
            await post("/message/cancel", {"id": self.waiting.message_id, **why})
            review = {"message_sid": self.pending_review}
            await post("/opt-outs/reviews/read", review)
            await post("/opt-outs/reviews/decide", {**review, "is_opt_out": "no"})
            await post("/opt-outs/inbound/texts", {})
            changes = {"to": canaries.number(), "body": canaries.text(Kind.TEXTS)}
            dead_letter = {"id": self.refused[2].message_id, "action": "retry"}
            await operator.get("/dead-letter", id=self.refused[2].message_id)
            await post("/dead-letter/resolve", {**dead_letter, **changes, **why})
            await self._bulk_job_on_page(operator, why)
            await self._uploads(operator, why)

    async def _uploads(self, operator: Operator, why: dict[str, str]) -> None:
        canaries = self.canaries
        form = {"from": self.sender, "body": canaries.text(Kind.TEXTS).replace("{", "")}
        row = f"{canaries.number()},{canaries.word(Kind.CELLS)}"
        bad = f"{canaries.number()}99999999,{canaries.word(Kind.CELLS)}"
        filler = "x" * (_BIG_FILE // 40)
        big = "".join(f"{canaries.number()},{filler}\n" for _ in range(40))
        for file, status in ((row, 200), (bad, 400), (big, 200), (row + "!", 200)):
            content = f"to,name\n{file}\n"
            page = await operator.post(
                "/campaigns/preview",
                form,
                files={"file": ("people.csv", content, "text/csv")},
                status=status,
            )
            if file == row:
                start = hidden(page.text)
                await operator.post("/campaigns/start", {**start, **why})
                await operator.get("/campaign", id=start["id"])
                await operator.post("/campaigns/reveal", {"id": start["id"], **why})
                await self._is_over(start["id"])
                await operator.post("/campaigns/report", {"id": start["id"], **why})

    async def _codec_server(self) -> None:
        """It is asked for clear text, with the token and without."""
        first = (await self.delivered.events())[0]
        started = first.workflow_execution_started_event_attributes
        document = json_format.MessageToDict(started.input)
        async with httpx.AsyncClient(base_url=self.stack.codec_url, trust_env=False) as http:
            bearer = {"Authorization": f"Bearer {self.codec_token}"}
            for path, headers, status in (
                ("/decode", bearer, 200),
                (f"/{self.codec_token}/decode", {}, 200),
                ("/decode", {"Authorization": self.canaries.secret(Kind.WRONG)}, 401),
                (f"/{self.canaries.secret('a wrong token')}/decode", {}, 401),
            ):
                answer = await http.post(path, json=document, headers=headers)
                assert status == answer.status_code
            clear = json.dumps({"payloads": [{"data": self.canaries.word(Kind.TEXTS)}]})
            await http.post("/decode", content=clear, headers=bearer)

    async def _erased(self) -> None:
        """A person of whom there was everything is erased."""
        kind, canaries, run = Kind.ERASED, self.canaries, self.commands.run
        person = canaries.number(kind)
        await report_of(await self.send(person, kind=kind))
        failed = await self.send(person, _REFUSED, kind=kind)
        await report_of(failed)
        await until(_exists(failed.dead_letter), "the dead letter")
        for body in ("What is it", "stop texting me you"):
            text = f"{body} {canaries.word(kind)}"
            await asyncio.to_thread(self.stack.sandbox.inbound, person, self.sender, text)
        file = self.commands.file("erased.csv", "to,name", f"{person},{canaries.word(kind)}")
        options = ("--body", "Hi {name}", "--from", self.sender, "--id", "erased")
        await run("campaign", "start", file, *options, "--yes")
        await self._is_over("erased")
        await run("erase", "-", "--dry-run", stdin=person)
        typed = [("", f"{person}\n"), ("Continue?", "n\n")]
        await self.commands.at_terminal("erase", "-", typed=typed, code=3)
        await run("erase", "-", "--yes", "--json", stdin=person)


async def report_of(sent: Sent) -> MessageReport:
    """Its report; the test's own limit is the only one, as this is not about time."""
    return await sent.message.report()


def _exists(ask: Callable[[], Awaitable[object]]) -> Callable[[], Awaitable[bool | None]]:
    """Whether Temporal knows it by now."""

    async def asked() -> bool | None:
        try:
            await ask()
        except RPCError:
            return None
        return True

    return asked
