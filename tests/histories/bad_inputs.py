"""Input that fails a message at once."""

from datetime import timedelta

from signedfor.contract import MESSAGES_QUEUE, SEND_MESSAGE
from tests.histories.recording import Handle
from tests.workflows.fakes import REQUEST, Environment, TimeSkippingEnvironment


async def bad_input(env: Environment) -> Handle:
    """Several bad fields."""
    return await env.start({"to": "nobody", "priority": "now", "tags": 3})


async def no_argument(env: Environment) -> Handle:
    """Nothing at all."""
    return await env.start(args=[])


async def two_arguments(env: Environment) -> Handle:
    """One object too many."""
    return await env.start(args=[REQUEST, REQUEST])


async def number_in_the_id(env: Environment) -> Handle:
    """The message id holds the recipient's number."""
    return await env.start(message_id="parcel-15558675309")


async def no_sender(env: Environment) -> Handle:
    """Neither `from` nor a default."""
    return await env.start({"to": REQUEST["to"], "body": "x"})


async def invalid_id(env: Environment) -> Handle:
    """The workflow's id does not begin with `message:`."""
    return await env.client.start_workflow(
        SEND_MESSAGE, REQUEST, id="order-17", task_queue=MESSAGES_QUEUE
    )


async def window_that_never_opens(env: TimeSkippingEnvironment) -> Handle:
    """Found at admission."""
    env.fakes.window_problem = "is never open in all time zones of the recipient"
    return await env.start({**REQUEST, "send_window": {"from": "09:00", "until": "10:00"}})


async def later_window_that_never_opens(env: TimeSkippingEnvironment) -> Handle:
    """Found at once, though its `send_at` lies ahead."""
    env.fakes.window_problem = "is never open in all time zones of the recipient"
    send_at = await env.now() + timedelta(days=30)
    window = {"from": "09:00", "until": "10:00"}
    return await env.start({**REQUEST, "send_window": window, "send_at": send_at.isoformat()})
