"""A command of ours as an operator runs it: how long it takes, and how much memory."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from devtools.bench.harness.meter import cpu_seconds, resident_megabytes
from devtools.stack.parts import ROOT

_LOOK_EVERY_SECONDS = 0.02
_LAST_CHARACTERS = 2000


class CommandFailed(Exception):
    """A command of a benchmark failed or took too long; the figures would be of something else."""


@dataclass(frozen=True, kw_only=True)
class Ran:
    """A command that ended well."""

    seconds: float
    cpu_seconds: float
    """What it used itself; more seconds than that are others', or the disk's."""
    most_megabytes: float
    """Its memory; like its CPU time, looked at many times a second."""


def run_command(*arguments: str, environment: Mapping[str, str], log: Path, within: float) -> Ran:
    """Run `signedfor` with these arguments; its output is in `log`.

    Raises:
        CommandFailed: it ended with an exit code, or not in time.
    """
    begun = time.perf_counter()
    with (
        log.open("wb") as output,
        subprocess.Popen(  # noqa: S603 - our own command
            # Without the .env that may lie there.
            [sys.executable, str(ROOT / "starter.py"), "--env-file", os.devnull, *arguments],
            env=dict(environment),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as running,
    ):
        cpu = most = 0.0
        inside = psutil.Process(running.pid)
        try:
            while running.poll() is None:
                with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended
                    cpu = max(cpu, cpu_seconds(inside))
                    most = max(most, resident_megabytes(running.pid))
                if time.perf_counter() - begun > within:
                    raise CommandFailed(f"It did not end within {within:.0f} s: {arguments[:2]}.")
                time.sleep(_LOOK_EVERY_SECONDS)
        finally:
            running.kill()
    seconds = time.perf_counter() - begun
    if running.returncode != 0:
        said = log.read_text(errors="replace")[-_LAST_CHARACTERS:]
        raise CommandFailed(f"It ended with {running.returncode}: {arguments[:2]}. It said: {said}")
    return Ran(seconds=seconds, cpu_seconds=cpu, most_megabytes=most)
