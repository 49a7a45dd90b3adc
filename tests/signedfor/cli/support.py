"""What the command line's tests share: a way to call it, and messages in any status."""

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from temporalio.client import Client
from typer.testing import CliRunner, Result

from signedfor.cli.app import app
from signedfor.contract import message_workflow_id
from signedfor.contract.failures import FailureClass
from signedfor.message_activities import SendRequest
from tests.workflows.fakes import RECIPIENT, SENDER, FakeActivities, accept, callback, failure

TEXT = "Your parcel is at the door."
SECRETS = (RECIPIENT, RECIPIENT[1:], TEXT)


@dataclass(frozen=True, kw_only=True)
class CommandLine:
    """Calls `signedfor` in this process, with these variables."""

    env: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, *arguments: str, stdin: str | bytes | None = None, **env: str) -> Result:
        """Call it with these arguments and variables."""
        return CliRunner().invoke(
            app, list(arguments), input=stdin, env={**self.env, **env}, prog_name="signedfor"
        )

    async def later(self, *arguments: str, stdin: str | None = None, **env: str) -> Result:
        """Call it from a running event loop: in a thread, since it starts its own loop."""
        return await asyncio.to_thread(self, *arguments, stdin=stdin, **env)

    async def document(self, *arguments: str, exit_code: int = 0) -> Any:
        """The document that it prints with `--json`; standard output must have nothing else."""
        result = await self.later(*arguments, "--json")
        assert exit_code == result.exit_code, result.output
        return json.loads(result.stdout)


@dataclass(frozen=True, kw_only=True)
class LiveSystem:
    """The command line with a real Temporal, workers and scripted fakes."""

    cli: CommandLine
    client: Client
    fakes: FakeActivities

    async def send(self, *options: str, message_id: str | None = None) -> str:
        """Send a message; its id."""
        chosen = message_id or new_id()
        result = await self.cli.later(
            "send", RECIPIENT, "--from", SENDER, "--body", TEXT, "--id", chosen, *options
        )
        assert 0 == result.exit_code, result.output
        return chosen

    async def receive(self, message_id: str, status: str, *, code: int | None = None) -> None:
        """Let Twilio call back, once it has the message."""
        async with asyncio.timeout(60):
            while not self.posts(message_id):  # noqa: ASYNC110 - what is waited for is not ours to signal
                await asyncio.sleep(0.02)
        handle = self.client.get_workflow_handle(message_workflow_id(message_id))
        await callback(handle, status, code=code)

    async def ended(self, message_id: str) -> None:
        """Wait until the message has ended."""
        await self.client.get_workflow_handle(message_workflow_id(message_id)).result()

    def posts(self, message_id: str) -> list[SendRequest]:
        """The submissions of this message; other tests submit messages, too."""
        return [post for post in self.fakes.posts if post.message_id == message_id]

    async def posted(self, message_id: str) -> SendRequest:
        """Wait until it is submitted."""
        posts = await until(lambda: asyncio.sleep(0, self.posts(message_id)), bool)
        first: SendRequest = posts[0]
        return first

    async def dead_letter(self, *options: str, code: int = 21408) -> str:
        """The id of a message that Twilio refused and whose dead letter is open."""
        self.fakes.sends = [failure(FailureClass.SENDER_MISCONFIGURED, code=code)]
        message_id = await self.send(*options)
        await self.ended(message_id)
        return message_id

    async def unconfirmed(self, *options: str) -> str:
        """The id of a message without a receipt, whose dead letter is open."""
        self.fakes.sends = [accept()]
        message_id = await self.send("--receipt-timeout", "1", *options)
        await self.ended(message_id)
        return message_id


async def until(
    ask: Callable[[], Awaitable[Any]], holds: Callable[[Any], bool], *, seconds: float = 30
) -> Any:
    """Repeat `ask` until `holds` accepts its answer; return the answer."""
    async with asyncio.timeout(seconds):
        while not holds(answer := await ask()):  # noqa: ASYNC110 - it is another process that is asked
            await asyncio.sleep(0.05)
    return answer


def new_id() -> str:
    """A message id that no other test has."""
    return f"test-{uuid.uuid4()}"


def shows_nothing_private(result: Result) -> bool:
    """Whether no number and no text was printed, on either stream."""
    return not any(secret in result.output for secret in SECRETS)
