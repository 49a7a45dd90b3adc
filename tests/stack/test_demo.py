import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from stack.play import _differences
from stack.ports import HOST
from stack.scenarios import SCENARIOS, Expected
from tests.stack.support import ROOT, clean_environment, is_gone, running, wait_for

_ENDED = (
    "delivered: The carrier confirmed delivery.",
    "suppressed: The recipient has opted out.",
    "failed: The recipient is not a valid phone number.",
    "(3 attempts)",
    "undelivered: The recipient's number is a landline",
    "unconfirmed: Twilio took it, but no receipt came in time.",
)


def _numbers_and_texts() -> list[str]:
    return [canary for each in SCENARIOS for canary in (each.to.lstrip("+"), each.text)]


@pytest.mark.integration
def test_the_demo_plays_six_messages(tmp_path: Path) -> None:
    """The demo exits 0, tells the end of all six with a link each, and says no number or text."""
    done = subprocess.run(
        [sys.executable, "-m", "stack.demo"],
        cwd=ROOT,
        env=clean_environment(TMPDIR=str(tmp_path)),
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )

    said = done.stdout
    assert (0, "") == (done.returncode, done.stderr), said
    assert [] == [text for text in _ENDED if text not in said]
    for scenario in SCENARIOS:
        assert f"/namespaces/default/workflows/message%3Ademo-{scenario.name}\n" in said
    assert "No phone number, text or token in" in said
    assert [] == [canary for canary in _numbers_and_texts() if canary in said]
    # Nothing is left behind.
    assert [] == list(tmp_path.iterdir())


@pytest.mark.integration
def test_the_demo_stays_up_when_asked(tmp_path: Path) -> None:
    """With STAY=1 the Temporal UI answers until Ctrl-C, which ends everything with exit code 0."""
    output = tmp_path / "output"
    with running("stack.demo", output, DATA_DIR=str(tmp_path / "data"), STAY="1") as process:
        wait_for(
            lambda: "Ctrl-C ends it." in output.read_text() or process.poll() is not None, "STAY"
        )
        family = psutil.Process(process.pid).children(recursive=True)
        page = next(line for line in output.read_text().splitlines() if "message%3A" in line)
        port = urlsplit(page.strip()).port
        with socket.create_connection((HOST, port), timeout=10):
            pass

        process.send_signal(signal.SIGINT)

        assert 0 == process.wait(60), output.read_text()
        wait_for(lambda: all(is_gone(each) for each in family), "the end of every process")
    assert (tmp_path / "data" / "logs" / "worker.log").exists()


def test_the_demo_wants_an_empty_folder(tmp_path: Path) -> None:
    """A folder with something in it is refused: an earlier demo's opt-outs would count."""
    (tmp_path / "signedfor.db").touch()
    output = tmp_path / "output"
    with running("stack.demo", output, DATA_DIR=str(tmp_path)) as process:
        assert 1 == process.wait(60)

    assert "must be empty" in output.read_text()


def test_what_differs_is_named() -> None:
    """A message that did not come to what was expected is told with each difference."""
    expected = Expected(outcome="delivered")

    assert () == _differences(Expected(outcome="delivered"), expected)
    assert (
        "outcome is failed, expected delivered",
        "accepted is 2, expected 1",
    ) == _differences(Expected(outcome="failed", accepted=2), expected)
