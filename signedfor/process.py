"""How a process begins and ends: its memory stays its own; Ctrl-C, output that nobody reads."""

import contextlib
import ctypes
import gc
import os
import resource
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Final, NoReturn

_INTERRUPTED: Final = 128 + signal.SIGINT
NOT_READ: Final = 128 + signal.SIGPIPE
"""The exit code when nobody reads the output any more, as of other programs."""
_PR_SET_DUMPABLE: Final = 4
_GARBAGE_THRESHOLDS: Final = 10_000, 3, 3
"""New objects until the youngest are looked at; how often until those of the next age are."""


def keep_memory_private() -> None:
    """Have no core dump written of this process: it would have secrets, numbers and texts.

    On Linux no process of the same user can read its memory or its environment from then on; root
    can. Programs that it starts are not concerned.
    """
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        # The limit is not asked where a program, such as systemd-coredump, takes the dumps.
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def collect_garbage_less() -> None:
    """Look for garbage in cycles less often, and not among what was imported.

    A message leaves few cycles. By default Python looks after 700 new objects, which took a worker
    5% of its CPU time; so it takes 2%. All ages are looked at as often as by default, because
    workflows that leave the cache are old garbage.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GARBAGE_THRESHOLDS)


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


def end_process(code: int) -> NoReturn:
    """End the process without the interpreter's finalization; all work must be done.

    The Temporal SDK's threads may still use the interpreter during finalization, and Python 3.11
    then aborts: seen in one of 24 runs, with exit code 134 instead of 0.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # nobody is there any more to be told
            stream.flush()
    os._exit(code)
