"""CPU time and memory of processes, and of a command of ours run as an operator runs it."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from devtools.bench.figures import Sample
from devtools.stack.local import ROOT


class CpuMeter:
    """CPU seconds of each part since the meter was created; a part may be several processes.

    Children of these processes count, but not those of this process, which are the parts.
    """

    def __init__(self, parts: Mapping[str, Sequence[int]]) -> None:
        self._parts = {
            name: [psutil.Process(pid) for pid in pids] for name, pids in parts.items() if pids
        }
        self._before = self._now()

    def per_message(self, messages: int) -> Sample:
        """Milliseconds of CPU a message since the meter was created: each part, and the system.

        The driver, which starts messages and waits, is listed separately and not included.
        """
        used = {name: now - self._before[name] for name, now in self._now().items()}
        figures = {
            f"CPU {name} (ms/message)": seconds * 1000 / messages for name, seconds in used.items()
        }
        in_all = sum(seconds for name, seconds in used.items() if name != "driver")
        return {**figures, "CPU all but driver (ms/message)": in_all * 1000 / messages}

    def _now(self) -> dict[str, float]:
        return {
            name: sum(self._seconds(process) for process in processes)
            for name, processes in self._parts.items()
        }

    @staticmethod
    def _seconds(process: psutil.Process) -> float:
        return cpu_seconds(process) if process.pid == os.getpid() else tree_cpu_seconds(process.pid)


def resident_megabytes(pid: int) -> float:
    """The resident memory of the process."""
    resident: int = psutil.Process(pid).memory_info().rss
    return resident / 2**20


def cpu_seconds(process: psutil.Process) -> float:
    """The CPU time of the process so far."""
    times = process.cpu_times()
    return float(times.user + times.system)


_POLL_SECONDS = 0.02
_LAST_CHARACTERS = 2000


class CommandFailed(Exception):
    """A command of a benchmark failed or took too long: its figures would be meaningless."""


@dataclass(frozen=True, kw_only=True)
class Ran:
    """A command that ended well."""

    seconds: float
    cpu_seconds: float
    """Its own CPU time; the rest was other processes, or the disk."""
    max_megabytes: float
    """Like its CPU time, sampled many times a second."""


def run_command(*arguments: str, environment: Mapping[str, str], log: Path, within: float) -> Ran:
    """Run `signedfor` with these arguments; its output is in `log`.

    Raises:
        CommandFailed: it ended with an exit code, or not in time.
    """
    started = time.perf_counter()
    with (
        log.open("wb") as output,
        subprocess.Popen(  # noqa: S603 - our own command
            # Without an .env of the current folder.
            [sys.executable, str(ROOT / "starter.py"), "--env-file", os.devnull, *arguments],
            env=dict(environment),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as running,
    ):
        cpu = max_memory = 0.0
        inside = psutil.Process(running.pid)
        try:
            while running.poll() is None:
                with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended
                    cpu = max(cpu, cpu_seconds(inside))
                    max_memory = max(max_memory, resident_megabytes(running.pid))
                if time.perf_counter() - started > within:
                    raise CommandFailed(f"It did not end within {within:.0f} s: {arguments[:2]}.")
                time.sleep(_POLL_SECONDS)
        finally:
            running.kill()
    seconds = time.perf_counter() - started
    if running.returncode != 0:
        said = log.read_text(errors="replace")[-_LAST_CHARACTERS:]
        raise CommandFailed(f"It ended with {running.returncode}: {arguments[:2]}. It said: {said}")
    return Ran(seconds=seconds, cpu_seconds=cpu, max_megabytes=max_memory)


def tree_cpu_seconds(pid: int) -> float:
    """The CPU time so far of the process and its descendants, those that have ended included."""
    total = 0.0
    root = psutil.Process(pid)
    for process in (root, *root.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended
            times = process.cpu_times()
            total += times.user + times.system
            # Linux adds a child's time to these when its parent has waited for it.
            total += getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
    return total
