"""Bad input, which fails a message at once."""

from datetime import timedelta

from signedfor.contract import MESSAGES_QUEUE, SEND_MESSAGE
from tests.histories.recording import Handle
from tests.workflows.fakes import REQUEST, Environment, TimeSkippingEnvironment


async def bad_input(env: Environment) -> Handle:
    """Several fields are bad."""
    return await env.start({"to": "invalid", "priority": "now", "tags": 3})


async def no_argument(env: Environment) -> Handle:
    """There is no input."""
    return await env.start(args=[])


async def two_arguments(env: Environment) -> Handle:
    """There are two input objects."""
    return await env.start(args=[REQUEST, REQUEST])


async def recipient_number_in_the_id(env: Environment) -> Handle:
    """The message id contains the recipient's number."""
    return await env.start(message_id="parcel-15558675309")


async def no_sender(env: Environment) -> Handle:
    """There is neither `from` nor a default sender."""
    return await env.start({"to": REQUEST["to"], "body": "x"})


async def invalid_id(env: Environment) -> Handle:
    """The workflow's id does not begin with `message:`."""
    return await env.client.start_workflow(
        SEND_MESSAGE, REQUEST, id="order-17", task_queue=MESSAGES_QUEUE
    )


async def unsuitable_recipient(env: TimeSkippingEnvironment) -> Handle:
    """The problem is found before the first POST."""
    env.fakes.recipient_problem = "is a premium-rate number"
    return await env.start()


async def later_unsuitable_recipient(env: TimeSkippingEnvironment) -> Handle:
    """The problem is found at once although `send_at` is in the future."""
    env.fakes.recipient_problem = "is a premium-rate number"
    send_at = await env.now() + timedelta(days=30)
    return await env.start({**REQUEST, "send_at": send_at.isoformat()})


async def window_that_never_opens(env: TimeSkippingEnvironment) -> Handle:
    """The problem is found before the first POST."""
    env.fakes.window_problem = "is never open in all time zones of the recipient"
    return await env.start({**REQUEST, "send_window": {"from": "09:00", "until": "10:00"}})


async def later_window_that_never_opens(env: TimeSkippingEnvironment) -> Handle:
    """The problem is found at once although `send_at` is in the future."""
    env.fakes.window_problem = "is never open in all time zones of the recipient"
    send_at = await env.now() + timedelta(days=30)
    window = {"from": "09:00", "until": "10:00"}
    return await env.start({**REQUEST, "send_window": window, "send_at": send_at.isoformat()})
