"""A worker that is there but does not run: its own health shows it, and `signedfor doctor`."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from temporalio.api.workflowservice.v1 import ListWorkersRequest

from devtools.stack.local import LocalStack
from devtools.stack.ports import HOST, free_ports
from signedfor import workers
from signedfor.checks import Finding, Level
from signedfor.checks.temporal import check_temporal
from signedfor.temporal import connect_temporal
from tests.integration.support import Caller, until, until_true
from tests.worker_process import ROOT

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

_HANGING = """
import asyncio
import time
import worker
from signedfor.worker_checks import WorkerChecks

async def hang(self):
    await asyncio.sleep(3)
    time.sleep(600)

WorkerChecks.until_obstacle = hang
raise SystemExit(worker.main())
"""
"""A worker that takes messages, and whose event loop then hangs."""


@contextmanager
def _worker(stack: LocalStack, log: Path, *command: str, **more: str) -> Iterator[int]:
    """Another worker of the stack; its process's number. It is killed in the end."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], **stack.settings, **more},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            yield process.pid
        finally:
            process.kill()
            process.wait(30)


async def _says(log: Path, what: str) -> None:
    await until_true(lambda: what in log.read_text(), f"a worker that says {what}")


async def _findings(name: str) -> list[Finding]:
    client = await connect_temporal()
    found = await check_temporal(client, fix=False, attempt_record_days=None)
    return [each for each in found if each.name == name]


async def _find_stuck(pid: int) -> Finding | None:
    """What doctor finds of this process."""
    found = await _findings("stuck workers")
    return next((each for each in found if f"{pid}@" in each.what), None)


async def _is_one_running() -> bool:
    """Whether doctor counts one worker."""
    [running] = await _findings("workers")
    return running.what.startswith("1 on queues ")


async def _is_heard_of(stack: LocalStack, pid: int) -> bool:
    """Whether Temporal has received a heartbeat of this process, for both queues."""
    client = await stack.client()
    listed = await client.workflow_service.list_workers(
        ListWorkersRequest(namespace=client.namespace)
    )
    found = [each.worker_heartbeat.worker_identity for each in listed.workers_info]
    return sum(each.startswith(f"{pid}@") for each in found) == 2


@pytest.fixture
def doctor(brave_caller: Caller, monkeypatch: pytest.MonkeyPatch) -> LocalStack:
    """The stack to which doctor connects, with less patience than usual."""
    stack = brave_caller.stack
    for name, value in stack.settings.items():
        if name.startswith(("TEMPORAL_", "PAYLOAD_")):
            monkeypatch.setenv(name, value)
    monkeypatch.setattr(workers, "MAX_SILENCE", timedelta(seconds=20))
    return stack


async def test_a_frozen_worker_is_found(doctor: LocalStack, tmp_path: Path) -> None:
    """By its process, among others that run; one that has ended in order is not."""
    with _worker(doctor, tmp_path / "ended.log", "-m", "worker") as ended:
        await _says(tmp_path / "ended.log", "worker ready")
        os.kill(ended, signal.SIGTERM)
        await _says(tmp_path / "ended.log", "worker stopped")
    with _worker(doctor, tmp_path / "frozen.log", "-m", "worker") as frozen:
        await _says(tmp_path / "frozen.log", "worker ready")
        await until(lambda: _is_heard_of(doctor, frozen), "a heartbeat")
        assert await _find_stuck(frozen) is None

        os.kill(frozen, signal.SIGSTOP)
        finding = await until(lambda: _find_stuck(frozen), "doctor to find it")
        await until(_is_one_running, "doctor to count the one that runs")

    assert Level.WARN is finding.level
    assert "frozen or killed" in finding.what
    assert f"{ended}@" not in finding.what
    assert f"{doctor.worker.pid}@" not in finding.what


async def test_a_worker_whose_event_loop_hangs_is_found(
    doctor: LocalStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its health says so, though its metrics answer; doctor sees that it compares no clock."""
    monkeypatch.setattr(workers, "MAX_CHECK_AGE", timedelta(seconds=10))
    monkeypatch.setattr(workers, "MAX_SILENCE", timedelta(minutes=5))
    [port] = free_ports(1)
    url, log = f"http://{HOST}:{port}", tmp_path / "hanging.log"
    # The others compare their clocks every half minute only.
    doctor.worker.stop()
    with _worker(doctor, log, "-c", _HANGING, WORKER_METRICS_ADDRESS=f"{HOST}:{port}") as hanging:
        await _says(log, "worker ready")
        async with httpx.AsyncClient() as http:

            async def unhealthy() -> httpx.Response | None:
                response = await http.get(f"{url}/healthz")
                return response if response.status_code == 503 else None

            answer = await until(unhealthy, "/healthz to fail")
            metrics = await http.get(f"{url}/metrics")
        finding = await until(lambda: _find_stuck(hanging), "doctor to find it")

    assert "the event loop hangs" == answer.json()["status"]
    assert 200 == metrics.status_code
    assert "hangs: its event loop" in finding.what
    assert Level.FAIL is finding.level
