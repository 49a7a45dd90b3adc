"""`signedfor campaign pause`, `resume` and `cancel`."""

from collections.abc import Callable
from typing import Final

from signedfor.campaigns.decisions import Decided, decide, decide_without_workflow
from signedfor.campaigns.progress import checked_campaign_id
from signedfor.cli.campaigns.status import CampaignArgument
from signedfor.cli.environment import database
from signedfor.cli.options import (
    ByOption,
    JsonOption,
    ReasonOption,
    TimeoutOption,
    check_reason,
    checked_model,
    operator,
)
from signedfor.cli.output import command_output
from signedfor.cli.temporal import connect, run
from signedfor.contract import CANCEL_UPDATE, PAUSE_UPDATE, RESUME_UPDATE, CampaignDecision
from signedfor.masks import has_digits_of_number
from signedfor.notes import check_note_on
from signedfor.store.campaigns import Campaigns

_TIMEOUT: Final = 10.0


def _command(decision: str, help_: str) -> Callable[..., None]:
    """The command that sends this update to a campaign's workflow."""

    def decide_(
        campaign_id: CampaignArgument,
        *,
        reason: ReasonOption = None,
        by: ByOption = None,
        timeout: TimeoutOption = _TIMEOUT,
        as_json: JsonOption = False,
    ) -> None:
        with command_output(as_json=as_json) as out:
            bare_id = checked_campaign_id(campaign_id)
            argument = checked_model(CampaignDecision, {"by": operator(by), "reason": reason})
            _check_reason(bare_id, reason)

            async def send() -> Decided | None:
                client = await connect()
                return await decide(client, bare_id, decision, argument, within=timeout)

            decided = run(send())
            if decided is None:
                with database() as engine:
                    decided = decide_without_workflow(Campaigns(engine), bare_id, decision)
            out.result(decided.document(), decided.sentence)

    decide_.__doc__ = help_
    return decide_


def _check_reason(campaign_id: str, reason: str | None) -> None:
    """Refuse a reason with a phone number: all who read the campaign's history see it."""
    check_reason(reason)
    if reason and has_digits_of_number(reason):
        with database() as engine:
            recipients = Campaigns(engine).recipients(campaign_id)
            check_note_on(recipients, reason, field="--reason", whose="a recipient's")


pause = _command(
    PAUSE_UPDATE,
    """Submit nothing more until it is resumed.

    It takes effect before the command ends. Messages that Twilio already has are delivered.
    """,
)
resume = _command(RESUME_UPDATE, "Continue a paused campaign where it was.")
cancel = _command(
    CANCEL_UPDATE,
    """Submit nothing more, for good.

    It takes effect before the command ends. Messages that Twilio already has are delivered.
    """,
)
