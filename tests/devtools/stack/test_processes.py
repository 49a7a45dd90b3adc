import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from devtools.stack.processes import (
    Process,
    ProcessDied,
    ProcessGroup,
    StackError,
    basic_environment,
    says,
)
from tests.devtools.stack.support import ROOT, is_gone, wait_for

pytestmark = pytest.mark.integration

_SLEEPS = "import time; print('awake', flush=True); time.sleep(600)"
_IGNORES_SIGTERM = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {_SLEEPS}"


@pytest.fixture
def group() -> Iterator[ProcessGroup]:
    """Yield an open process group."""
    with ProcessGroup() as opened:
        yield opened


def _process(
    group: ProcessGroup,
    folder: Path,
    code: str,
    *,
    start_seconds: float = 60,
    stop_seconds: float = 40,
) -> Process:
    return Process(
        "sleeper",
        [sys.executable, "-c", code],
        group=group,
        environment=basic_environment(folder),
        folder=folder,
        log=folder / "sleeper.log",
        is_ready=says("awake"),
        start_seconds=start_seconds,
        stop_seconds=stop_seconds,
    )


def test_a_process_is_ready_and_stops(group: ProcessGroup, tmp_path: Path) -> None:
    """A process runs once it has reported that it is ready, and ends with SIGTERM."""
    process = _process(group, tmp_path, _SLEEPS)

    process.start()

    assert process.is_running
    assert psutil.pid_exists(process.pid)
    assert -signal.SIGTERM == process.stop()
    assert not process.is_running


def test_a_process_that_ignores_sigterm_is_killed(group: ProcessGroup, tmp_path: Path) -> None:
    """A process that does not end in time is killed."""
    process = _process(group, tmp_path, _IGNORES_SIGTERM, stop_seconds=0.2)
    process.start()

    assert -signal.SIGKILL == process.stop()


def test_a_killed_process_starts_again(group: ProcessGroup, tmp_path: Path) -> None:
    """After kill -9 a process can be started again; its output is that of the new run."""
    process = _process(group, tmp_path, _SLEEPS)
    process.start()
    first = process.pid

    assert -signal.SIGKILL == process.kill()
    process.start()

    assert first != process.pid
    assert "awake\n" == process.output()
    assert "awake\nawake\n" == process.log.read_text()


def test_a_process_cannot_run_twice(group: ProcessGroup, tmp_path: Path) -> None:
    """Starting a running process is an error."""
    process = _process(group, tmp_path, _SLEEPS)
    process.start()

    with pytest.raises(StackError, match="already running"):
        process.start()


def test_a_process_that_fails_to_start_is_named(group: ProcessGroup, tmp_path: Path) -> None:
    """The error names the process, its exit code and its last output."""
    process = _process(group, tmp_path, "print('failed to start'); raise SystemExit(7)")

    with pytest.raises(ProcessDied, match=r"(?s)sleeper.*exit code 7.*failed to start"):
        process.start()


def test_a_process_that_dies_is_named(group: ProcessGroup, tmp_path: Path) -> None:
    """The error names the process and the signal that killed it."""
    process = _process(group, tmp_path, _SLEEPS)
    process.start()
    process.check()
    os.kill(process.pid, signal.SIGKILL)
    wait_for(lambda: not process.is_running, "the end of the process")

    with pytest.raises(ProcessDied, match=r"(?s)sleeper.*killed by SIGKILL.*awake"):
        process.check()


def test_a_process_that_is_never_ready_is_named(group: ProcessGroup, tmp_path: Path) -> None:
    """The error names the process that was not ready in time."""
    process = _process(
        group, tmp_path, "import time; print('yawn', flush=True); time.sleep(600)", start_seconds=1
    )

    with pytest.raises(StackError, match=r"(?s)sleeper was not ready after 1 s.*yawn"):
        process.start()


def test_a_stopped_process_is_no_error(group: ProcessGroup, tmp_path: Path) -> None:
    """Nor is one that was never started."""
    process = _process(group, tmp_path, _SLEEPS)
    process.check()
    process.start()
    process.stop()

    process.check()

    assert process.stop() is None
    with pytest.raises(StackError, match="not running"):
        _ = process.pid


def test_the_group_ends_with_its_block(tmp_path: Path) -> None:
    """What is still running when the block ends is killed."""
    with ProcessGroup() as group:
        process = _process(group, tmp_path, _SLEEPS)
        process.start()
        child = psutil.Process(process.pid)

    assert -signal.SIGKILL == process.stop()
    assert is_gone(child)


def test_nothing_outlives_a_killed_parent(tmp_path: Path) -> None:
    """When the parent is killed with -9, its children and their children are killed too."""
    grandchild = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {_SLEEPS!r}])"
    program = f"""
import sys, time
from pathlib import Path
from devtools.stack.processes import *
with ProcessGroup() as group:
    folder = Path({str(tmp_path)!r})
    Process("parent", [sys.executable, "-c", {grandchild!r}], group=group,
            environment=basic_environment(folder), folder=folder, log=folder / "log",
            is_ready=says("awake")).start()
    print("started", flush=True)
    time.sleep(600)
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        assert b"started\n" == parent.stdout.readline()
        family = psutil.Process(parent.pid).children(recursive=True)
        parent.kill()

    # The child, its child, the guard and what the guard waits with.
    assert 4 == len(family)
    wait_for(lambda: all(is_gone(process) for process in family), "the end of the family")


def test_the_environment_has_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process gets no settings or secrets of our environment."""
    monkeypatch.setenv("TWILIO_AUTH_TOKEN", "secret")
    monkeypatch.setenv("TEMPORAL_API_KEY", "secret")

    environment = basic_environment(tmp_path)

    assert "secret" not in environment.values()
    assert str(tmp_path) == environment["HOME"]
