"""Waiting for a message's end, with its progress shown to whoever watches."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from temporalio.client import WorkflowFailureError
from temporalio.service import RPCError

from signedfor.cli.output import Output, Unconfirmed, printable
from signedfor.cli.standing import MessageHandle, ask_progress, why_it_failed
from signedfor.cli.views import progress_line
from signedfor.contract import MessageReport, Progress

_FIRST_LOOK = 0.3
_LATER_LOOKS = 1.5
_LONGEST_BETWEEN_LOOKS = 10.0
"""Each look is a query, which costs: a message that takes hours is looked at less often."""
_QUERY_TIMEOUT = timedelta(seconds=3)


async def await_report(
    out: Output, handle: MessageHandle, message_id: str, *, within: float | None
) -> MessageReport:
    """The message's report; its end is seen at once, its progress now and then.

    Raises:
        Unconfirmed: `within` seconds passed. The message goes on.
        CommandError: its workflow ended without a report.
    """
    result = asyncio.create_task(handle.result())
    try:
        async with asyncio.timeout(within):
            with _watched(out) as show:
                await _show_until_done(handle, result, show)
        return await result
    except TimeoutError:
        raise Unconfirmed(
            f"Message {message_id} has not ended within {within:g} seconds. It goes on; see "
            f"`signedfor show {message_id}`."
        ) from None
    except WorkflowFailureError as error:
        raise why_it_failed(error) from None
    finally:
        result.cancel()


async def _show_until_done(
    handle: MessageHandle, result: "asyncio.Task[MessageReport]", show: Callable[[str], None]
) -> None:
    pause = _FIRST_LOOK
    while not (await asyncio.wait({result}, timeout=pause))[0]:
        looking = asyncio.create_task(ask_progress(handle, within=_QUERY_TIMEOUT))
        try:
            await asyncio.wait({result, looking}, return_when=asyncio.FIRST_COMPLETED)
            if looking.done() and not result.done():
                show(_line(looking))
        finally:
            looking.cancel()
        pause = min(pause * _LATER_LOOKS, _LONGEST_BETWEEN_LOOKS)


def _line(looking: "asyncio.Task[Progress | None]") -> str:
    try:
        return progress_line(looking.result())
    except RPCError:
        return "Temporal does not answer; waiting for it"


@contextmanager
def _watched(out: Output) -> Iterator[Callable[[str], None]]:
    """A way to show a line: in place on a terminal, and else each new one once."""
    if out.notes.is_terminal:
        with out.notes.status("started") as status:
            yield lambda line: status.update(printable(line))
        return
    shown = [""]

    def show(line: str) -> None:
        if line != shown[-1]:
            shown[:] = [line]
            out.note(line)

    yield show
