"""`python -m devtools.stack.demo`, the command of `make demo`: six messages, then a campaign.

It runs on free ports in a folder of its own and needs no network. It exits with 0 only if the
messages and the campaign went as expected and no log contains a phone number, a text or the token.
`KEEP_RUNNING=1` keeps everything running at the end; `DATA_DIR` names the folder, which must be
empty and is kept.
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

from devtools.sandbox.accounts import DEFAULT_ACCOUNT_SID
from devtools.sandbox.magic import GOOD_SENDER
from devtools.stack.console import addresses, console, shown_path, sign_in_hint, workflow_url
from devtools.stack.demo_campaign import (
    CAMPAIGN_ID,
    CODE_ID,
    CODE_TO,
    RATE,
    RECIPIENTS,
    SENDER,
    CampaignRun,
    run_campaign,
    texts,
)
from devtools.stack.demo_messages import SCENARIOS, ScenarioResult, run_scenarios
from devtools.stack.encryption import secrets_in
from devtools.stack.local import LocalStack
from devtools.stack.log_scan import basic_auth, scan_logs
from devtools.stack.processes import StackError, interrupt_on_signals
from signedfor.client import Client
from signedfor.contract import campaign_workflow_id, message_workflow_id
from signedfor.process import end_process
from signedfor.store.rate_limiter_statements import URGENT_BURST_TOLERANCE

_INTERRUPTED = 130
# The campaign shows the rate limit; the six messages need not wait a second each.
_SETTINGS = {"LOG_LEVEL": "DEBUG", "DEFAULT_SEGMENTS_PER_SECOND": "long_code=10"}


def main() -> int:
    """Run the demo; 0 if everything went as expected, 1 if not, 130 after Ctrl-C."""
    interrupt_on_signals()
    out = console()
    # Not the sandbox's documented token: finding this one in a log proves that it was logged.
    token = secrets.token_hex(16)
    try:
        folder, keep = _folder()
        settings = {**_SETTINGS, "TWILIO_AUTH_TOKEN": token}
        with LocalStack(folder, settings=settings, with_ops=True) as stack:
            as_expected = [_show_messages(stack, out), _show_campaign(stack, out)]
            if os.environ.get("KEEP_RUNNING") == "1":
                _stay(stack, out)
        # After the end, to include what the parts log while they stop.
        clean = _logs_are_clean(stack, token=token, out=out)
    except StackError as error:
        sys.stderr.write(f"make demo: {error}\n")
        return 1
    except KeyboardInterrupt:
        out.print("Interrupted.")
        return _INTERRUPTED
    if not (all(as_expected) and clean):
        sys.stderr.write(f"make demo: something did not go as expected; see {folder}/logs.\n")
        return 1
    if not keep:
        shutil.rmtree(folder)
    out.print(
        "`make up` runs all this until Ctrl-C, with a page for operators: "
        "docs/how-to/operations-page.md shows it."
    )
    return 0


def _folder() -> tuple[Path, bool]:
    """An empty folder, and whether to keep it: opt-outs of an earlier demo would count."""
    named = os.environ.get("DATA_DIR")
    if not named:
        return Path(tempfile.mkdtemp(prefix="signedfor-demo-")), False
    folder = Path(named)
    if folder.exists() and any(folder.iterdir()):
        raise StackError(f"DATA_DIR ({folder}) must be empty for the demo.")
    return folder, True


def _show_messages(stack: LocalStack, out: Console) -> bool:
    out.print("Temporal, the Twilio sandbox, a worker and the webhook are running. Six messages:\n")
    started = time.monotonic()
    results = asyncio.run(run_scenarios(stack))
    for number, each in enumerate(results, start=1):
        _print_message(number, each, stack, out)
    out.print(f"All six messages were finished after {time.monotonic() - started:.1f} s.")
    return not any(each.problems for each in results)


def _print_message(number: int, result: ScenarioResult, stack: LocalStack, out: Console) -> None:
    report, expected = result.report, result.scenario.expected
    out.print(f"[bold]{number}. {escape(result.scenario.title)}[/bold]")
    ids = [result.workflow_id]
    if report is not None:
        attempts = f" ({report.attempts} attempts)" if report.attempts > 1 else ""
        out.print(f"   {escape(f'{report.outcome}: {report.reason}{attempts}')}")
        if report.dead_letter_id is not None:
            ids.append(report.dead_letter_id)
    if result.retried_as is not None:
        out.print(f"   Its dead letter was retried, and the new message was {expected.retry}.")
        ids.append(message_workflow_id(result.retried_as))
    elif expected.dead_letter == "recorded" and not result.problems:
        out.print("   The number is now suppressed as undeliverable; its dead letter is closed.")
    _print_end(ids, result.problems, stack, out)


def _show_campaign(stack: LocalStack, out: Console) -> bool:
    rows = len(RECIPIENTS)
    out.print(
        f"\n[bold]A campaign of {rows} rows at {RATE} segments a second, "
        "and an urgent message from the same sender[/bold]"
    )
    run = asyncio.run(_run_campaign(stack))
    for at, what in run.timeline:
        out.print(f"   {at - run.started:4.1f} s  {what}")
    if not run.problems:
        out.print(f"   All {rows} rows and the urgent message were sent once and delivered.")
        out.print(
            f"   The busiest second had {run.busiest} segments: "
            f"a sender is never more than {URGENT_BURST_TOLERANCE:g} s ahead of its rate."
        )
    ids = (campaign_workflow_id(CAMPAIGN_ID), message_workflow_id(CODE_ID))
    _print_end(ids, run.problems, stack, out)
    return not run.problems


async def _run_campaign(stack: LocalStack) -> CampaignRun:
    return await run_campaign(stack, Client(await stack.client()))


def _print_end(
    workflow_ids: Sequence[str], problems: Sequence[str], stack: LocalStack, out: Console
) -> None:
    for workflow_id in workflow_ids:
        out.print(f"   {workflow_url(stack, workflow_id)}", soft_wrap=True)
    for problem in problems:
        out.print(f"   [bold red]NOT AS EXPECTED:[/bold red] {escape(problem)}")
    out.print()


def _logs_are_clean(stack: LocalStack, *, token: str, out: Console) -> bool:
    logs = sorted((stack.folder / "logs").iterdir())
    scan = scan_logs(
        logs,
        numbers=[
            *(GOOD_SENDER, SENDER, CODE_TO, *RECIPIENTS),
            *(scenario.to for scenario in SCENARIOS),
        ],
        texts=[*texts(), *(scenario.text for scenario in SCENARIOS)],
        secrets=[
            *(token, basic_auth(DEFAULT_ACCOUNT_SID, token)),
            *secrets_in(stack.folder),
        ],
    )
    for place in scan.found:
        out.print(f"[bold red]FOUND IN A LOG:[/bold red] {escape(place)}")
    if scan.found:
        return False
    out.print(f"The {scan.lines} lines of {len(logs)} logs contain no phone number, text or token.")
    return True


def _stay(stack: LocalStack, out: Console) -> None:
    out.print()
    out.print(addresses(stack))
    out.print(f"\n{sign_in_hint(stack)}")
    out.print(f"All data is in {shown_path(stack.folder)}. Press Ctrl-C to stop.")
    try:
        while True:
            stack.check()
            time.sleep(0.5)
    except KeyboardInterrupt:
        out.print("Stopped.")


if __name__ == "__main__":
    end_process(main())
