"""`signedfor opt-outs catch-up`: record inbound messages that the webhook missed."""

from typing import Annotated, Final

import typer
from temporalio.client import WorkflowFailureError
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy

from signedfor.cli.options import MAX_SECONDS, JsonOption, moment
from signedfor.cli.output import Refused, Unconfirmed, clock, command_output, facts
from signedfor.cli.temporal import answer, connect, run
from signedfor.contract import MESSAGES_QUEUE
from signedfor.inbound import (
    CATCH_UP_ID,
    CATCH_UP_WORKFLOW,
    INBOUND_PRIORITY,
    CatchUp,
    CatchUpResult,
)

_MAX_SINCE_DAYS: Final = 30
_TIMEOUT: Final = 300.0


def catch_up(
    *,
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            metavar="WHEN",
            help="From then on: 90m, 24h or 7d ago, or an RFC 3339 time of the last 30 days. "
            "Default: since the last catch-up.",
        ),
    ] = None,
    timeout: Annotated[
        float,
        typer.Option(
            "--timeout",
            metavar="SECONDS",
            min=0.1,
            max=MAX_SECONDS,
            help="How long to wait for the result.",
        ),
    ] = _TIMEOUT,
    as_json: JsonOption = False,
) -> None:
    """Record inbound messages that the webhook missed.

    A worker asks Twilio for them, mainly for opt-outs. Workers do so every
    INBOUND_CATCH_UP_MINUTES anyway.
    """
    with command_output(as_json=as_json) as out:
        earliest = None
        if since is not None:
            earliest = moment(since, option="--since", max_days=_MAX_SINCE_DAYS)
        request = CatchUp(since=earliest)
        result = run(_catch_up(request, within=timeout))
        out.result(
            result.model_dump(mode="json"),
            facts(
                [
                    ("From", clock(result.since)),
                    ("To", clock(result.until)),
                    ("Listed", result.listed),
                    ("Inbound", result.inbound),
                    ("New", result.new),
                    ("Unusable", result.unusable),
                ]
            ),
        )


async def _catch_up(request: CatchUp, *, within: float) -> CatchUpResult:
    client = await connect()
    handle = await client.start_workflow(
        CATCH_UP_WORKFLOW,
        request,
        id=CATCH_UP_ID,
        task_queue=MESSAGES_QUEUE,
        result_type=CatchUpResult,
        # One at a time: a second caller gets the result of the run that is in progress.
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        priority=INBOUND_PRIORITY,
    )
    try:
        return await answer(handle.result(), within=within)
    except TimeoutError:
        raise Unconfirmed(
            f"No result yet: workflow {CATCH_UP_ID} continues, if a worker runs. See it in the "
            "Temporal UI, or `signedfor doctor`."
        ) from None
    except WorkflowFailureError:
        raise Refused(
            f"The catch-up failed; workflow {CATCH_UP_ID} in the Temporal UI says why. "
            "`signedfor doctor` checks Twilio and the database."
        ) from None
