"""What processes have used: CPU time and memory, by the part of the system they are."""

from collections.abc import Mapping, Sequence

import psutil

from devtools.bench.harness.figures import Sample


class CpuMeter:
    """CPU seconds of each part between two looks; a part may be several processes."""

    def __init__(self, parts: Mapping[str, Sequence[int]]) -> None:
        self._parts = {
            name: [psutil.Process(pid) for pid in pids] for name, pids in parts.items() if pids
        }
        self._before = self._now()

    def per_message(self, messages: int) -> Sample:
        """Milliseconds of CPU a message since the meter was made: each part, and ours in all.

        The driver, who hands in and waits, is told apart: it is no part of the system.
        """
        used = {name: now - self._before[name] for name, now in self._now().items()}
        figures = {
            f"CPU {name} (ms/message)": seconds * 1000 / messages for name, seconds in used.items()
        }
        in_all = sum(seconds for name, seconds in used.items() if name != "driver")
        return {**figures, "CPU all but driver (ms/message)": in_all * 1000 / messages}

    def _now(self) -> dict[str, float]:
        return {
            name: sum(cpu_seconds(process) for process in processes)
            for name, processes in self._parts.items()
        }


def resident_megabytes(pid: int) -> float:
    """What the process holds in memory now."""
    resident: int = psutil.Process(pid).memory_info().rss
    return resident / 2**20


def cpu_seconds(process: psutil.Process) -> float:
    """What the process has used of CPUs so far."""
    times = process.cpu_times()
    return float(times.user + times.system)
