"""Input that fails a message at once."""

from messaging.contract import MESSAGES_QUEUE, SEND_MESSAGE
from tests.histories.recording import Handle
from tests.workflows.courier import REQUEST, World


async def bad_input(world: World) -> Handle:
    """Several bad fields."""
    return await world.start({"to": "nobody", "priority": "now", "tags": 3})


async def no_argument(world: World) -> Handle:
    """Nothing at all."""
    return await world.start(args=[])


async def two_arguments(world: World) -> Handle:
    """One object too many."""
    return await world.start(args=[REQUEST, REQUEST])


async def number_in_the_id(world: World) -> Handle:
    """The message id holds the recipient's number."""
    return await world.start(message_id="parcel-15558675309")


async def no_sender(world: World) -> Handle:
    """Neither `from` nor a default."""
    return await world.start({"to": REQUEST["to"], "body": "x"})


async def id_that_is_none(world: World) -> Handle:
    """The workflow's id does not begin with `message:`."""
    return await world.client.start_workflow(
        SEND_MESSAGE, REQUEST, id="order-17", task_queue=MESSAGES_QUEUE
    )
