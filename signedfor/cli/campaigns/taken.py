"""Whether the ids of a new campaign and its messages are free.

A message is started once for each id, so where the ids are taken every row would count as handed
over and nobody would be sent to.
"""

import asyncio

from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from signedfor.cli.campaigns.standing import Running, ask_running
from signedfor.cli.output import Refused
from signedfor.cli.temporal import RPC_TIMEOUT, is_namespace_missing
from signedfor.contract import campaign_message_id, campaign_workflow_id, message_workflow_id


async def require_free_ids(client: Client, campaign_id: str) -> None:
    """See that a campaign that the database does not know yet is unknown to Temporal too.

    Raises:
        Refused: it has run to its end, when the database was another; or somebody uses the
            message ids that its rows would have.
    """
    first_message = message_workflow_id(campaign_message_id(campaign_id, 1))
    running, is_taken = await asyncio.gather(
        ask_running(client, campaign_id), _is_there(client, first_message)
    )
    known = first_message if is_taken else campaign_workflow_id(campaign_id)
    if is_taken or running is Running.ENDED:
        raise Refused(
            f"Temporal knows {known} already, and this database knows no campaign {campaign_id}: "
            "its messages would be taken for sent. Nothing was done; with another --id all are "
            "sent to."
        )


async def _is_there(client: Client, workflow_id: str) -> bool:
    try:
        await client.get_workflow_handle(workflow_id).describe(rpc_timeout=RPC_TIMEOUT)
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND or is_namespace_missing(error):
            raise
        return False
    return True
