"""`signedfor opt-outs catch-up`: look now for inbound messages that never reached us."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from temporalio.client import WorkflowFailureError
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy

from signedfor.cli.options import JsonOption
from signedfor.cli.output import BadInput, Refused, Unconfirmed, answering, facts
from signedfor.cli.temporal import answer, connect, run
from signedfor.cli.views import clock
from signedfor.contract import MESSAGES_QUEUE
from signedfor.inbound import BEFORE_MESSAGES, CATCH_UP_ID, CATCH_UP_WORKFLOW, CatchUp, CaughtUp

_UNITS = {"m": "minutes", "h": "hours", "d": "days"}
_LONGEST = timedelta(days=30)
_TIMEOUT = 300.0


def catch_up(
    *,
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            metavar="LENGTH",
            help="How far back: 90m, 24h, 7d; at most 30d. Default: since the last look.",
        ),
    ] = None,
    timeout: Annotated[
        float, typer.Option("--timeout", min=0.1, help="Seconds to wait for the result.")
    ] = _TIMEOUT,
    as_json: JsonOption = False,
) -> None:
    """Record what people texted while Twilio could not reach the webhook, STOP above all.

    A worker asks Twilio. It also does so by itself, every CATCH_UP_MINUTES.
    """
    with answering(as_json=as_json) as out:
        request = CatchUp(since=None if since is None else datetime.now(UTC) - _length(since))
        caught_up = run(_look(request, within=timeout))
        out.result(
            caught_up.model_dump(mode="json"),
            facts(
                [
                    ("From", clock(caught_up.since)),
                    ("To", clock(caught_up.until)),
                    ("Looked at", caught_up.listed),
                    ("Inbound", caught_up.inbound),
                    ("New", caught_up.new),
                    ("Unusable", caught_up.unusable),
                ]
            ),
        )


def _length(text: str) -> timedelta:
    match = re.fullmatch(r"([1-9][0-9]{0,5})([mhd])", text, re.ASCII)
    length = timedelta(**{_UNITS[match[2]]: int(match[1])}) if match else None
    if length is None or length > _LONGEST:
        raise BadInput([("--since", "must be a length such as 90m, 24h or 7d, at most 30d")])
    return length


async def _look(request: CatchUp, *, within: float) -> CaughtUp:
    client = await connect()
    handle = await client.start_workflow(
        CATCH_UP_WORKFLOW,
        request,
        id=CATCH_UP_ID,
        task_queue=MESSAGES_QUEUE,
        result_type=CaughtUp,
        # One at a time: whoever asks meanwhile gets the result of the look under way.
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        priority=BEFORE_MESSAGES,
    )
    try:
        return await answer(handle.result(), within=within)
    except TimeoutError:
        raise Unconfirmed(
            f"No result yet: workflow {CATCH_UP_ID} goes on, if a worker runs. See it in the "
            "Temporal UI, or `signedfor doctor`."
        ) from None
    except WorkflowFailureError:
        raise Refused(
            f"The look failed; workflow {CATCH_UP_ID} in the Temporal UI says why. "
            "`signedfor doctor` looks at Twilio and the database."
        ) from None
