import signal
import socket
import stat
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from dotenv import dotenv_values

from devtools.sandbox.client import SandboxControl
from devtools.stack.ports import HOST, free_ports
from devtools.stack.up import forwarded_settings, wants_real_twilio, write_environment
from tests.devtools.stack.support import ROOT, clean_environment, is_gone, running, wait_for

_VARIABLES = (
    *("TEMPORAL_PORT", "TEMPORAL_UI_PORT", "WEBHOOK_PORT", "SANDBOX_PORT", "OPS_PORT"),
    "CODEC_SERVER_PORT",
)
_REAL = {
    "TWILIO_ACCOUNT_SID": "AC" + "0" * 32,
    "TWILIO_AUTH_TOKEN": "a-real-token",
    "PUBLIC_BASE_URL": "https://messages.example.com",
}


@contextmanager
def _up(folder: Path, **environment: str) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """Run `make up`'s command on free ports until it has printed its addresses."""
    output = folder / "output"
    ports = dict(zip(_VARIABLES, map(str, free_ports(len(_VARIABLES))), strict=True))
    data = str(folder / "data")
    with running("devtools.stack.up", output, DATA_DIR=data, **{**ports, **environment}) as process:
        wait_for(
            lambda: "Press Ctrl-C to stop." in output.read_text() or process.poll() is not None,
            "make up",
        )
        yield process, output


@pytest.mark.integration
def test_up_runs_until_it_is_stopped(tmp_path: Path) -> None:
    """Every printed address answers, the suggested command delivers; Ctrl-C stops everything."""
    webhook, sandbox = free_ports(2)
    with _up(tmp_path, WEBHOOK_PORT=str(webhook), SANDBOX_PORT=str(sandbox)) as (process, output):
        family = psutil.Process(process.pid).children(recursive=True)
        with urllib.request.urlopen(f"http://{HOST}:{webhook}/readyz", timeout=10) as answer:
            assert 200 == answer.status
        with SandboxControl(f"http://{HOST}:{sandbox}") as control:
            assert control.health()
        done = _run_suggested(output.read_text(), tmp_path)
        assert (0, True) == (done.returncode, "delivered" in done.stdout), done.stderr

        process.send_signal(signal.SIGINT)

        assert 0 == process.wait(60)
        wait_for(lambda: all(is_gone(each) for each in family), "the end of every process")

    printed = output.read_text()
    assert f"http://{HOST}:{webhook}" in printed
    assert "Twilio is the sandbox" in printed
    assert "Traceback" not in printed


def _run_suggested(printed: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the `signedfor send` that the output suggests."""
    suggested = next(line for line in printed.splitlines() if " send " in line)
    return subprocess.run(
        [
            "/bin/sh",
            "-c",
            suggested.replace(_signedfor(suggested), f"{sys.executable} -m starter"),
        ],
        cwd=ROOT,
        env=clean_environment(DATA_DIR=str(folder)),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _signedfor(line: str) -> str:
    """The command at the beginning of a suggested line; it is there after an installation."""
    return line.split(maxsplit=1)[0]


@pytest.mark.integration
def test_nothing_outlives_a_killed_up(tmp_path: Path) -> None:
    """A `make up` that is killed with -9 leaves no process, and starts again in its folder.

    There SIGTERM stops everything, with exit code 0.
    """
    with _up(tmp_path) as (process, _):
        family = psutil.Process(process.pid).children(recursive=True)
        assert len(family) >= 5

        process.kill()
        process.wait()

        wait_for(lambda: all(is_gone(each) for each in family), "the end of every process")

    with _up(tmp_path) as (process, output):
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGTERM)
        assert 0 == process.wait(60)
        wait_for(lambda: all(is_gone(each) for each in family), "the end of every process")

    assert "Traceback" not in output.read_text()


@pytest.mark.integration
def test_a_part_that_exits_stops_everything(tmp_path: Path) -> None:
    """The output names the part and shows its log, and the others are stopped."""
    with _up(tmp_path) as (process, output):
        family = psutil.Process(process.pid).children(recursive=True)
        next(each for each in family if "worker" in each.cmdline()).kill()

        assert 1 == process.wait(60)
        wait_for(lambda: all(is_gone(each) for each in family), "the end of every process")

    assert "make up: The worker exited unexpectedly (killed by SIGKILL)" in output.read_text()


@pytest.mark.integration
def test_a_taken_port_is_named(tmp_path: Path) -> None:
    """Nothing is started, and the message says which variable to change."""
    with socket.create_server((HOST, 0)) as server:
        taken = str(server.getsockname()[1])
        with _up(tmp_path, WEBHOOK_PORT=taken) as (process, output):
            assert 1 == process.wait(60)

    assert f"make up: Port {taken} is taken." in output.read_text()
    assert "WEBHOOK_PORT" in output.read_text()


@pytest.mark.integration
def test_the_real_twilio_is_announced(tmp_path: Path) -> None:
    """With real credentials there is no sandbox; no file contains the token."""
    with _up(tmp_path, **_REAL) as (process, output):
        process.send_signal(signal.SIGTERM)
        assert 0 == process.wait(60)

    printed = output.read_text()
    assert "THIS IS THE REAL TWILIO" in printed
    assert "sandbox  " not in printed
    files = [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
    assert not [path for path in files if b"a-real-token" in path.read_bytes()]


@pytest.mark.integration
def test_the_environment_file_has_what_a_client_needs(tmp_path: Path) -> None:
    """The file names Temporal and the database; a shell and dotenv read the same values."""
    path = tmp_path / "a folder" / "up.env"
    path.parent.mkdir()
    settings = {
        "TEMPORAL_ADDRESS": "127.0.0.1:7233",
        "TEMPORAL_NAMESPACE": "default",
        "DATABASE_URL": f"sqlite:///{path.parent}/signedfor.db",
    }

    path.touch(mode=0o644)  # by an earlier version

    write_environment(path, settings)

    assert settings == dotenv_values(path)
    assert 0o600 == stat.S_IMODE(path.stat().st_mode)
    sourced = subprocess.run(
        ["/bin/sh", "-c", f'. "{path}"; echo "$DATABASE_URL"'],
        capture_output=True,
        text=True,
        check=True,
    )
    assert settings["DATABASE_URL"] == sourced.stdout.strip()


@pytest.mark.parametrize("missing", ["", *_REAL])
def test_only_complete_credentials_mean_the_real_twilio(missing: str) -> None:
    """The real Twilio is used only if account, token and public URL are all set."""
    environment = {name: value for name, value in _REAL.items() if name != missing}

    assert (not missing) == wants_real_twilio(environment)


def test_an_api_base_url_means_no_real_twilio() -> None:
    """A TWILIO_API_BASE_URL points to a sandbox."""
    assert not wants_real_twilio({**_REAL, "TWILIO_API_BASE_URL": "http://127.0.0.1:8089"})


def test_the_sandbox_gets_no_real_settings() -> None:
    """With the sandbox, no credential, public URL or database of the environment is used."""
    environment = {
        **_REAL,
        "DATABASE_URL": "postgresql://production/signedfor",
        "TWILIO_API_KEY_SECRET": "secret",
        "WEBHOOK_HOST": "0.0.0.0",
        "UNKNOWN_OUTCOME_WAIT_SECONDS": "5",
        "LOG_LEVEL": "",
        "AWS_SECRET_ACCESS_KEY": "secret",
    }

    assert {"UNKNOWN_OUTCOME_WAIT_SECONDS": "5"} == forwarded_settings(environment, real=False)


def test_the_real_twilio_gets_every_setting() -> None:
    """With the real Twilio all our variables are used, and those of proxies; no others."""
    environment = {
        **_REAL,
        "DATABASE_URL": "postgresql://production/signedfor",
        "HTTPS_PROXY": "http://proxy:3128",
        "AWS_SECRET_ACCESS_KEY": "secret",
    }

    expected = {**environment}
    del expected["AWS_SECRET_ACCESS_KEY"]
    assert expected == forwarded_settings(environment, real=True)
