"""`python -m devtools.stack.demo`, the command of `make demo`: six messages, then a campaign.

It runs on free ports in a folder of its own, needs no network, and exits 0 only if the messages and
the campaign went as they must and no log holds a phone number, a text or the token. `STAY=1` keeps
everything up at the end, to look around; `DATA_DIR` names the folder, which must be empty, and
keeps it.
"""

import asyncio
import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from temporalio.client import Client

from devtools.sandbox.accounts import DEFAULT_ACCOUNT_SID
from devtools.sandbox.magic import GOOD_SENDER
from devtools.stack.canaries import basic_auth, scan_logs
from devtools.stack.console import addresses, console, shown_path, workflow_url
from devtools.stack.local import LocalStack
from devtools.stack.overtaking import (
    CAMPAIGN_ID,
    CODE_ID,
    CODE_TO,
    RATE,
    RECIPIENTS,
    SENDER,
    Overtaking,
    overtake,
    texts,
)
from devtools.stack.play import Played, play
from devtools.stack.processes import StackError, interrupt_on_signals
from devtools.stack.scenarios import SCENARIOS
from devtools.stack.temporal_server import NAMESPACE
from signedfor.store.rate_limiter_statements import URGENT_BURST_TOLERANCE
from signedfor.temporal import end_process

_INTERRUPTED = 130
# The campaign shows pace; the six messages need not queue for a second each.
_SETTINGS = {"LOG_LEVEL": "DEBUG", "DEFAULT_RATES": "long_code=10"}


def main() -> int:
    """Play the demo; 0 if everything ended as expected, 1 if not, 130 after Ctrl-C."""
    interrupt_on_signals()
    out = console()
    # Not the sandbox's documented token: one that could be in a log for no other reason.
    token = secrets.token_hex(16)
    try:
        folder, keep = _folder()
        with LocalStack(folder, settings={**_SETTINGS, "TWILIO_AUTH_TOKEN": token}) as stack:
            as_expected = [_show_messages(stack, out), _show_campaign(stack, out)]
            if os.environ.get("STAY") == "1":
                _stay(stack, out)
        # After the end, so that what the parts say while they stop is read too.
        clean = _logs_are_clean(stack, token=token, out=out)
    except StackError as error:
        sys.stderr.write(f"make demo: {error}\n")
        return 1
    except KeyboardInterrupt:
        out.print("Interrupted.")
        return _INTERRUPTED
    if not (all(as_expected) and clean):
        sys.stderr.write(f"make demo: not everything went as it must; see {folder}/logs.\n")
        return 1
    if not keep:
        shutil.rmtree(folder)
    return 0


def _folder() -> tuple[Path, bool]:
    """An empty folder, and whether to keep it; what an earlier demo left behind would count."""
    named = os.environ.get("DATA_DIR")
    if not named:
        return Path(tempfile.mkdtemp(prefix="signedfor-demo-")), False
    folder = Path(named)
    if folder.exists() and any(folder.iterdir()):
        raise StackError(f"DATA_DIR ({folder}) must be empty: the demo starts from nothing.")
    return folder, True


def _show_messages(stack: LocalStack, out: Console) -> bool:
    out.print("Temporal, the Twilio sandbox, a worker and the webhook are up. Six messages:\n")
    begun = time.monotonic()
    played = asyncio.run(_play_all(stack))
    for number, each in enumerate(played, start=1):
        _tell(number, each, stack, out)
    out.print(f"All six ended after {time.monotonic() - begun:.1f} s.")
    return not any(each.problems for each in played)


async def _client(stack: LocalStack) -> Client:
    # A plain client, as other services have it: nothing of ours is needed to send a message.
    return await Client.connect(stack.temporal.address, namespace=NAMESPACE)


async def _play_all(stack: LocalStack) -> Sequence[Played]:
    client = await _client(stack)
    return await asyncio.gather(
        *(play(scenario, stack=stack, client=client) for scenario in SCENARIOS)
    )


def _tell(number: int, played: Played, stack: LocalStack, out: Console) -> None:
    report, expected = played.report, played.scenario.expected
    out.print(f"[bold]{number}. {escape(played.scenario.title)}[/bold]")
    ids = [played.workflow_id]
    if report is not None:
        what = f"{report['outcome']}: {report['reason']}{_attempts(report['attempts'])}"
        out.print(f"   {escape(what)}")
        if report["dead_letter_id"] is not None:
            ids.append(report["dead_letter_id"])
    if played.retried_as is not None:
        out.print(f"   Its dead letter was resolved with a retry, and that was {expected.retried}.")
        ids.append(f"message:{played.retried_as}")
    elif expected.letter == "recorded" and not played.problems:
        out.print("   The number is recorded as undeliverable, and its dead letter is closed.")
    for workflow_id in ids:
        out.print(f"   {workflow_url(stack, workflow_id)}", soft_wrap=True)
    _tell_problems(played.problems, out)
    out.print()


def _attempts(attempts: int) -> str:
    return f" ({attempts} attempts)" if attempts > 1 else ""


def _show_campaign(stack: LocalStack, out: Console) -> bool:
    rows = len(RECIPIENTS)
    out.print(
        f"\n[bold]A campaign of {rows} rows at {RATE} segments a second, "
        "and an urgent code in the middle of it[/bold]"
    )
    seen = asyncio.run(_overtake(stack))
    for at, what in seen.timeline:
        out.print(f"   {at - seen.began:4.1f} s  {what}")
    if not seen.problems:
        out.print(f"   All {rows} rows and the code were sent exactly once, and delivered.")
        out.print(
            f"   The busiest second had {seen.busiest} segments: "
            f"a sender is never more than {URGENT_BURST_TOLERANCE:g} s ahead of its pace."
        )
    for workflow_id in (f"campaign:{CAMPAIGN_ID}", f"message:{CODE_ID}"):
        out.print(f"   {workflow_url(stack, workflow_id)}", soft_wrap=True)
    _tell_problems(seen.problems, out)
    out.print()
    return not seen.problems


async def _overtake(stack: LocalStack) -> Overtaking:
    return await overtake(stack, await _client(stack))


def _tell_problems(problems: Sequence[str], out: Console) -> None:
    for problem in problems:
        out.print(f"   [bold red]NOT AS EXPECTED:[/bold red] {escape(problem)}")


def _logs_are_clean(stack: LocalStack, *, token: str, out: Console) -> bool:
    logs = sorted((stack.folder / "logs").iterdir())
    scan = scan_logs(
        logs,
        numbers=[
            *(GOOD_SENDER, SENDER, CODE_TO, *RECIPIENTS),
            *(scenario.to for scenario in SCENARIOS),
        ],
        texts=[*texts(), *(scenario.text for scenario in SCENARIOS)],
        secrets=[token, basic_auth(DEFAULT_ACCOUNT_SID, token)],
    )
    for place in scan.found:
        out.print(f"[bold red]A LOG HOLDS[/bold red] {escape(place)}")
    if scan.found:
        return False
    out.print(f"No phone number, text or token in {scan.lines} lines of {len(logs)} logs.")
    return True


def _stay(stack: LocalStack, out: Console) -> None:
    out.print()
    out.print(addresses(stack))
    out.print(f"\nEverything is in {shown_path(stack.folder)}. Ctrl-C ends it.")
    try:
        while True:
            stack.check()
            time.sleep(0.5)
    except KeyboardInterrupt:
        out.print("Stopped.")


if __name__ == "__main__":
    end_process(main())
