"""The worker's HTTP server: what it says of the event loop, the phase and the metrics."""

import asyncio
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import pytest
from prometheus_client import CollectorRegistry, Counter

from devtools.stack.ports import HOST, free_ports
from signedfor import worker_server
from signedfor.errors import InvalidSettings
from signedfor.worker_server import Phase, WorkerHealth, serving


class _Sdk(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """Answer as the SDK's own server does."""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"temporal_num_pollers 5\n")

    def log_message(self, *_: object) -> None:
        """Stay quiet."""


@pytest.fixture
def sdk_url() -> Iterator[str]:
    """Where metrics of Temporal's SDK are served."""
    server = HTTPServer((HOST, 0), _Sdk)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://{HOST}:{server.server_port}/metrics"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def health() -> WorkerHealth:
    """That of a worker which has just started."""
    return WorkerHealth()


@pytest.fixture
def server_url(health: WorkerHealth, sdk_url: str) -> Iterator[str]:
    """A worker's server, with a counter."""
    registry = CollectorRegistry()
    Counter("signedfor_claims", "x", registry=registry).inc(3)
    [port] = free_ports(1)
    address = f"{HOST}:{port}"
    with serving(address, health=health, registry=registry, sdk_metrics_url=sdk_url):
        yield f"http://{address}"


def _until(url: str, status: int) -> httpx.Response:
    deadline = time.monotonic() + 20
    while True:
        response = httpx.get(url)
        if response.status_code == status:
            return response
        assert time.monotonic() < deadline, response.text


def test_an_event_loop_that_hangs_is_seen(
    health: WorkerHealth, server_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`/healthz` and `/readyz` answer 503 while it is blocked, and 200 before and after."""
    monkeypatch.setattr(worker_server, "MAX_SILENCE_SECONDS", 0.5)
    monkeypatch.setattr(worker_server, "_BEAT_SECONDS", 0.05)
    health.phase = Phase.SERVING
    block, release, stop = threading.Event(), threading.Event(), threading.Event()

    async def run() -> None:
        async with health.beating():
            while not stop.is_set():
                if block.is_set():
                    release.wait()  # blocks the event loop, as a defect would
                    block.clear()
                await asyncio.sleep(0.01)

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    try:
        assert "alive" == _until(f"{server_url}/healthz", 200).json()["status"]
        assert {"ready": True, "worker": "serving"} == _until(f"{server_url}/readyz", 200).json()
        block.set()
        hanging = _until(f"{server_url}/healthz", 503).json()
        not_ready = _until(f"{server_url}/readyz", 503).json()
        metrics = httpx.get(f"{server_url}/metrics")
        release.set()
        assert "alive" == _until(f"{server_url}/healthz", 200).json()["status"]
    finally:
        stop.set()
        release.set()
        thread.join()

    assert "the event loop hangs" == hanging["status"]
    assert hanging["silence_seconds"] >= 0.5
    assert {"ready": False, "worker": "the event loop hangs"} == not_ready
    assert 200 == metrics.status_code


@pytest.mark.parametrize("phase", Phase)
async def test_only_a_worker_that_takes_messages_is_ready(
    health: WorkerHealth, server_url: str, phase: Phase
) -> None:
    """One that waits for the right time, or stops, is alive but not ready."""
    async with health.beating(), httpx.AsyncClient() as http:
        health.phase = phase
        alive = await http.get(f"{server_url}/healthz")
        ready = await http.get(f"{server_url}/readyz")

    is_ready = phase is Phase.SERVING
    assert 200 == alive.status_code
    assert (200 if is_ready else 503) == ready.status_code
    assert {"ready": is_ready, "worker": phase.value} == ready.json()


def test_its_metrics_and_the_sdks_are_one_scrape(server_url: str) -> None:
    """In Prometheus' text format."""
    answer = httpx.get(f"{server_url}/metrics")

    assert answer.headers["Content-Type"].startswith("text/plain")
    assert "signedfor_claims_total 3.0" in answer.text
    assert "temporal_num_pollers 5" in answer.text


def test_half_of_the_metrics_are_none(health: WorkerHealth) -> None:
    """Without the SDK's, the scrape fails, so that Prometheus sees it."""
    port, nowhere = free_ports(2)
    with serving(
        f"{HOST}:{port}",
        health=health,
        registry=CollectorRegistry(),
        sdk_metrics_url=f"http://{HOST}:{nowhere}/metrics",
    ):
        answer = httpx.get(f"http://{HOST}:{port}/metrics")

    assert 503 == answer.status_code


def test_other_paths_do_not_exist(server_url: str) -> None:
    """And are not repeated."""
    answer = httpx.get(f"{server_url}/path-canary")

    assert 404 == answer.status_code
    assert "canary" not in answer.text


@pytest.mark.parametrize("address", ["192.0.2.1:9464", "127.0.0.1:99999"])
def test_an_unusable_address_is_reported(health: WorkerHealth, address: str) -> None:
    """The error names the variable, not its value."""
    with (
        pytest.raises(InvalidSettings, match="WORKER_METRICS_ADDRESS") as caught,
        serving(address, health=health, registry=CollectorRegistry(), sdk_metrics_url=""),
    ):
        pass

    assert address not in str(caught.value)
