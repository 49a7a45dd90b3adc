"""How a process ends: on Ctrl-C while it starts, when nobody reads its output, after its work."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Final, NoReturn

_INTERRUPTED: Final = 128 + signal.SIGINT
NOT_READ: Final = 128 + signal.SIGPIPE
"""The exit code when nobody reads the output any more, as of other programs."""


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C end the process at once, without a word: for imports, which change nothing.

    Otherwise an import that is interrupted prints a traceback, or prints it and goes on.
    """
    handler = signal.getsignal(signal.SIGINT)
    # It is another one in a background job of a script, where Ctrl-C is ignored, and under a
    # framework. Only the main thread can set one.
    if (
        handler is not signal.default_int_handler
        or threading.current_thread() is not threading.main_thread()
    ):
        yield
        return
    signal.signal(signal.SIGINT, end_at_once)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


def end_at_once(_signal: int, _frame: FrameType | None) -> NoReturn:
    """Handle Ctrl-C while nothing has been done yet."""
    os._exit(_INTERRUPTED)


def interrupt_as_usual() -> None:
    """From now on, Ctrl-C raises KeyboardInterrupt again."""
    if signal.getsignal(signal.SIGINT) is end_at_once:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def survive_the_signal_that_stops_uvicorn() -> None:
    """Let the process end normally after SIGTERM or SIGINT; called in the running event loop.

    After its shutdown, uvicorn raises the signal again for the previous handler. The default one
    kills the process before the database is closed.
    """
    import asyncio  # noqa: PLC0415 - the command line starts without it

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lambda: None)


def end_process(code: int) -> NoReturn:
    """End the process without the interpreter's finalization; all work must be done.

    The Temporal SDK's threads may still use the interpreter during finalization, and Python 3.11
    then aborts: seen in one of 24 runs, with exit code 134 instead of 0.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # nobody is there any more to be told
            stream.flush()
    os._exit(code)
