"""Input that fails a message at once."""

from datetime import timedelta

from signedfor.contract import MESSAGES_QUEUE, SEND_MESSAGE
from tests.histories.recording import Handle
from tests.workflows.fakes import REQUEST, Environment, TimeSkippingEnvironment


async def bad_input(world: Environment) -> Handle:
    """Several bad fields."""
    return await world.start({"to": "nobody", "priority": "now", "tags": 3})


async def no_argument(world: Environment) -> Handle:
    """Nothing at all."""
    return await world.start(args=[])


async def two_arguments(world: Environment) -> Handle:
    """One object too many."""
    return await world.start(args=[REQUEST, REQUEST])


async def number_in_the_id(world: Environment) -> Handle:
    """The message id holds the recipient's number."""
    return await world.start(message_id="parcel-15558675309")


async def no_sender(world: Environment) -> Handle:
    """Neither `from` nor a default."""
    return await world.start({"to": REQUEST["to"], "body": "x"})


async def invalid_id(world: Environment) -> Handle:
    """The workflow's id does not begin with `message:`."""
    return await world.client.start_workflow(
        SEND_MESSAGE, REQUEST, id="order-17", task_queue=MESSAGES_QUEUE
    )


async def window_that_never_opens(world: TimeSkippingEnvironment) -> Handle:
    """Found at admission."""
    world.fakes.window_problem = "is never open in all time zones of the recipient"
    return await world.start({**REQUEST, "send_window": {"from": "09:00", "until": "10:00"}})


async def later_window_that_never_opens(world: TimeSkippingEnvironment) -> Handle:
    """Found at once, though its `send_at` lies ahead."""
    world.fakes.window_problem = "is never open in all time zones of the recipient"
    send_at = await world.now() + timedelta(days=30)
    window = {"from": "09:00", "until": "10:00"}
    return await world.start({**REQUEST, "send_window": window, "send_at": send_at.isoformat()})
