"""Running the stack's commands as a person does."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[3]
_WAIT_SECONDS = 60
_IN_THE_BACKGROUND = ("/bin/sh", "-c", "trap '' INT; exec \"$@\"", "sh")
"""Ignores SIGINT, as a shell without job control does for what it starts in the background."""


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Return when `condition` holds; fail, naming `what`, if that takes too long."""
    give_up_at = time.monotonic() + _WAIT_SECONDS
    while not condition():
        assert time.monotonic() < give_up_at, f"waited too long for {what}"
        time.sleep(0.02)


def is_gone(process: psutil.Process) -> bool:
    """Whether the process has ended; a zombie counts as ended."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def clean_environment(**more: str) -> dict[str, str]:
    """An environment without any settings of ours, and `more`."""
    return {"PATH": os.environ["PATH"], "HOME": more.get("DATA_DIR", "/"), **more}


@contextmanager
def running(module: str, output: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run `python -m module` with its output in a file; kill it at the end if it is still there."""
    with output.open("wb") as file:
        process = subprocess.Popen(
            [*_IN_THE_BACKGROUND, sys.executable, "-m", module],
            cwd=ROOT,
            env=clean_environment(**environment),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
