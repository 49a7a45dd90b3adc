"""A terminal at which somebody types: what a command shows there."""

import fcntl
import os
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

_SIZE: Final = struct.pack("HHHH", 100, 4000, 0, 0)
"""Lines and columns: so wide that no value is broken over two lines, where no search finds it."""
_ESCAPES: Final = re.compile(rb"\x1b\[[0-?]*[ -/]*[@-~]")
_SECONDS: Final = 120
_PART: Final = 2**16

Typed = Sequence[tuple[str, str]]
"""What must be shown before something is typed, and that."""


def on_terminal(
    command: Sequence[str], *, environment: Mapping[str, str], folder: Path, typed: Typed
) -> tuple[int, bytes]:
    """Run a command; its exit code, and everything that it showed, without colors.

    What is typed is not shown, so that what is shown comes from the command.
    """
    ours, theirs = os.openpty()
    try:
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, _SIZE)
        attributes = termios.tcgetattr(theirs)
        attributes[3] &= ~termios.ECHO
        termios.tcsetattr(theirs, termios.TCSANOW, attributes)
        with subprocess.Popen(
            command,
            env={**environment, "TERM": "xterm"},
            cwd=folder,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        ) as process:
            os.close(theirs)
            try:
                shown = _type(ours, typed)
            except BaseException:
                process.kill()
                raise
        return process.returncode, shown
    finally:
        os.close(ours)


def _type(terminal: int, typed: Typed) -> bytes:
    """Type it; everything that was shown until the command ended."""
    shown, seen, left = b"", 0, list(typed)
    give_up_at = time.monotonic() + _SECONDS
    while True:
        if left and (at := shown.find(left[0][0].encode(), seen)) >= 0:
            prompt, text = left.pop(0)
            seen = at + len(prompt)
            os.write(terminal, text.encode())
        assert time.monotonic() < give_up_at, f"{left[:1]} was not asked for, or nothing ended"
        if not select.select([terminal], [], [], 0.2)[0]:
            continue
        try:
            part = os.read(terminal, _PART)
        except OSError:  # how Linux says that nobody has it open any more
            assert not left, f"{left[0][0]} was not asked"
            return shown
        shown = _ESCAPES.sub(b"", shown + part)
