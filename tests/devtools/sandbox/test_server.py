"""The process: where it listens, how it ends, and what it leaves in its output."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Thread

import pytest
import requests
from twilio.base.exceptions import TwilioRestException

from devtools.sandbox.client import SandboxControl
from tests.devtools.sandbox.support import (
    SENDER,
    SERVICE,
    Receiver,
    eventually,
    running_sandbox,
    twilio_client,
    until,
)

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "example.com", "::"])
def test_other_hosts_than_loopback_are_refused(host: str) -> None:
    """Any host but loopback ends it with code 2 and instructions."""
    done = subprocess.run(
        [sys.executable, "-m", "devtools.sandbox", "--host", host, "--port", "0"],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )

    assert 2 == done.returncode
    assert "listens on this machine only. Give --host 127.0.0.1" in done.stderr


def test_half_an_account_is_refused() -> None:
    """An account SID without a token, or the reverse, ends it with code 2."""
    environment = {**os.environ, "TWILIO_ACCOUNT_SID": "AC" + "1" * 32, "TWILIO_AUTH_TOKEN": ""}
    done = subprocess.run(
        [sys.executable, "-m", "devtools.sandbox", "--port", "0"],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=30,
    )

    assert 2 == done.returncode
    assert "TWILIO_AUTH_TOKEN" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_within_two_seconds(recipient: str, number: int) -> None:
    """A signal ends it with code 0, even while an answer hangs and messages are queued."""
    with running_sandbox("--sent-after", "60") as (url, process), SandboxControl(url) as control:
        client = twilio_client(url)
        client.messages.create(to=recipient, from_=SENDER, body="hello")
        control.script(recipient, [{"respond": "hang_after_accept"}])
        hanging = Thread(target=_expect_a_drop, args=(url, recipient))
        hanging.start()
        eventually(lambda: control.summary()["accepted"] == 2)
        began = time.monotonic()
        process.send_signal(number)

        assert 0 == process.wait(10)
        assert time.monotonic() - began < 2
        hanging.join()


def _expect_a_drop(url: str, recipient: str) -> None:
    with pytest.raises(requests.exceptions.ConnectionError):
        twilio_client(url).messages.create(to=recipient, from_=SENDER, body="hello")


def test_output_contains_no_number_or_text(tmp_path: Path, recipient: str) -> None:
    """Refusals, faults and failing callbacks leave no number, text or token in the output."""
    output = tmp_path / "output"
    with output.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "devtools.sandbox", "--port", "0"], stdout=file, stderr=file
        )
        try:
            url = str(
                eventually(
                    lambda: next(
                        (x for x in output.read_text().split() if x.startswith("http")), None
                    )
                )
            )
            client = twilio_client(url)
            with SandboxControl(url) as control:
                control.script(recipient, [{"respond": "drop_after_accept"}])
                with pytest.raises(requests.exceptions.ConnectionError):
                    client.messages.create(to=recipient, from_=SENDER, body="secret text")
                with pytest.raises(TwilioRestException):
                    client.messages.create(to="+15005550001", from_=SENDER, body="secret text")
                client.messages.create(
                    to=recipient,
                    from_=SENDER,
                    body="secret text",
                    status_callback=f"http://127.0.0.1:1/{recipient}",
                )
                client.messages.list(to=recipient)
                eventually(lambda: control.summary()["callbacks"] == 4)
        finally:
            process.terminate()
            process.wait(10)
    said = output.read_text()

    assert 2 == len(said.splitlines())
    for private in (recipient, recipient[1:], "secret", "sandbox-auth-token", SENDER):
        assert private not in said


def test_the_state_survives_a_kill(tmp_path: Path, receiver: Receiver, recipient: str) -> None:
    """After kill -9 a journal restores messages, ledger and opt-outs, and messages continue."""
    journal = tmp_path / "journal"
    arguments = ("--journal", str(journal), "--delivered-after", "0")
    with running_sandbox(*arguments) as (url, process), SandboxControl(url) as control:
        client = twilio_client(url)
        first = client.messages.create(to=recipient, from_=SENDER, body="one")
        until(first, "delivered")
        control.inbound(recipient, "+15005550010", "STOP")
        control.settings(hold=True)
        waiting = client.messages.create(
            to=recipient,
            messaging_service_sid=SERVICE,
            body="two",
            status_callback=receiver.url,
        )
        until(waiting, "queued")
        receiver.wait_for(1)
        eventually(lambda: control.summary()["callbacks"] == 1)
        with pytest.raises(TwilioRestException):
            client.messages.create(to=recipient, from_=SENDER, body="")
        process.kill()
        process.wait(10)
    with journal.open("a") as file:
        file.write('{"event": "mess')  # as a kill in the middle of a line leaves it

    with running_sandbox(*arguments) as (url, _), SandboxControl(url) as control:
        client = twilio_client(url)
        assert "two" == until(client.messages(waiting.sid or "").fetch(), "delivered").body
        receiver.wait_for(3)
        assert ["queued", "sent", "delivered"] == receiver.statuses()
        with pytest.raises(TwilioRestException) as refused:
            client.messages.create(to=recipient, from_="+15005550010", body="hello")
        assert 21610 == refused.value.code
    with running_sandbox(*arguments) as (url, _), SandboxControl(url) as control:
        ledger = control.ledger(to=recipient)
        assert [(1, first.sid), (2, waiting.sid)] == [
            (row["n"], row["sid"]) for row in ledger["accepted"]
        ]
        assert [21602, 21610] == [row["code"] for row in ledger["refused"]]
        assert receiver.statuses() == [row["status"] for row in ledger["callbacks"]]
        assert 0 == control.summary()["unfinished"]


def test_a_sender_keeps_its_rate(recipient: str) -> None:
    """Segments leave a sender at the configured rate, and a full queue is 21611."""
    with running_sandbox() as (url, _), SandboxControl(url) as control:
        client = twilio_client(url)
        control.settings(segments_per_second=20, queue_segments=5, sent_after=0)
        for _ in range(5):
            client.messages.create(to=recipient, from_=SENDER, body="hello")
        control.settings(queue_segments=1)
        with pytest.raises(TwilioRestException) as refused:
            client.messages.create(to=recipient, from_=SENDER, body="hello")
        assert (429, 21611) == (refused.value.status, refused.value.code)
        eventually(lambda: control.summary()["unfinished"] == 0)

        sent = [row["sent"] or 0 for row in control.ledger(to=recipient)["accepted"]]
        assert 5 == len(sent)
        assert sent[-1] - sent[0] >= 4 / 20 - 0.01
