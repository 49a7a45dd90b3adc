import re
import signal
import socket
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from devtools.stack.demo import _folder
from devtools.stack.demo_campaign import (
    CODE_TO,
    RECIPIENTS,
    SENDER,
    Arrival,
    CampaignRun,
    texts,
)
from devtools.stack.demo_messages import SCENARIOS, Expected, _differences
from devtools.stack.ports import HOST
from tests.devtools.stack.support import is_gone, running, wait_for

_PRINTED = (
    r"delivered: The carrier confirmed delivery\.",
    r"suppressed: The recipient has opted out\.",
    r"failed: The recipient is not a valid phone number\.",
    r"\(3 attempts\)",
    r"undelivered: The recipient's number is a landline",
    r"unconfirmed: Twilio accepted it, but no receipt came in time\.",
    r"An urgent message is sent: \d+ rows are at Twilio, [1-9]\d* are waiting\.",
    r"accepts the urgent message after \d+\.\d\d s, before [1-9]\d* of the rows\.",
    r"All 30 rows and the urgent message were sent once and delivered\.",
    r"The busiest second had \d+ segments",
    r"The \d+ lines of 7 logs contain no phone number, text or token\.",
)
_WORKFLOWS = (
    *(f"message%3Ademo-{each.name}" for each in SCENARIOS),
    "campaign%3Ademo-fair",
    "message%3Ademo-code",
)


def _numbers_and_texts() -> list[str]:
    numbers = [SENDER, CODE_TO, *RECIPIENTS, *(each.to for each in SCENARIOS)]
    return [*(each.lstrip("+") for each in numbers), *texts(), *(each.text for each in SCENARIOS)]


def _wait_until_printed(line: str, output: Path, process: subprocess.Popen[bytes]) -> None:
    wait_for(lambda: line in output.read_text() or process.poll() is not None, line)


@pytest.mark.timeout(240)
@pytest.mark.integration
def test_the_demo(tmp_path: Path) -> None:
    """It prints every outcome, with links that work while it runs, and leaves no file behind.

    After Ctrl-C the exit code is 0: everything went as expected. It prints no number and no text.
    """
    output, temporary = tmp_path / "output", tmp_path / "tmp"
    temporary.mkdir()
    with running("devtools.stack.demo", output, TMPDIR=str(temporary), KEEP_RUNNING="1") as process:
        _wait_until_printed("All six messages were finished after", output, process)
        _wait_until_printed("Press Ctrl-C to stop.", output, process)
        family = psutil.Process(process.pid).children(recursive=True)
        page = next(line for line in output.read_text().splitlines() if "message%3A" in line)
        with socket.create_connection((HOST, urlsplit(page.strip()).port), timeout=10):
            pass

        process.send_signal(signal.SIGINT)

        assert 0 == process.wait(60), output.read_text()
        wait_for(lambda: all(is_gone(each) for each in family), "the end of every process")
    printed = output.read_text()
    assert [] == [text for text in _PRINTED if not re.search(text, printed)]
    for workflow in _WORKFLOWS:
        assert f"/namespaces/default/workflows/{workflow}\n" in printed
    assert [] == [value for value in _numbers_and_texts() if value in printed]
    assert [] == list(temporary.iterdir())


def test_a_named_folder_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder in DATA_DIR is kept; a temporary one is not."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    assert (tmp_path / "data", True) == _folder()

    monkeypatch.delenv("DATA_DIR")
    temporary, is_kept = _folder()
    assert (tmp_path, False) == (temporary.parent, is_kept)


@pytest.mark.integration
def test_the_demo_needs_an_empty_folder(tmp_path: Path) -> None:
    """The opt-outs of an earlier demo would affect it."""
    (tmp_path / "signedfor.db").touch()
    output = tmp_path / "output"
    with running("devtools.stack.demo", output, DATA_DIR=str(tmp_path)) as process:
        assert 1 == process.wait(60)

    assert "must be empty" in output.read_text()


def test_what_differs_is_named() -> None:
    """Each difference from what was expected is named."""
    expected = Expected(outcome="delivered")

    assert () == _differences(Expected(outcome="delivered"), expected)
    assert (
        "outcome is failed, expected delivered",
        "accepted is 2, expected 1",
    ) == _differences(Expected(outcome="failed", accepted=2), expected)


def _as_expected() -> CampaignRun:
    """A run in which the urgent message is sent after ten rows, at five a second."""
    rows = [Arrival(at=100 + number / 5, to=to) for number, to in enumerate(RECIPIENTS)]
    late = [replace(each, at=each.at + 0.2) for each in rows[11:]]
    code = Arrival(at=102.1, to=CODE_TO)
    return CampaignRun(
        started=100, code_sent=101.9, arrivals=(*rows[:11], code, *late), undelivered=0
    )


def test_the_timeline_of_a_campaign() -> None:
    """Rows sent and waiting when the urgent message was sent, its delay, the busiest second."""
    run = _as_expected()

    assert () == run.problems
    assert (10, 20, 19, 6) == (run.sent_before, run.waiting, run.overtaken, run.busiest)
    assert [
        "The campaign starts: `signedfor campaign start recipients.csv --yes`.",
        "Twilio accepts the first row.",
        "An urgent message is sent: 10 rows are at Twilio, 20 are waiting.",
        "Twilio accepts the urgent message after 0.20 s, before 19 of the rows.",
        "Twilio accepts the last row.",
    ] == [what for _, what in run.timeline]


def test_problems_of_a_campaign_are_named() -> None:
    """Such as a row sent twice or never, no priority, no rate limit, or nothing delivered."""
    good = _as_expected()
    first, *_, last = good.arrivals
    code = good.code
    assert code is not None
    others = tuple(each for each in good.arrivals if each != code)
    in_order = (*others, replace(code, at=last.at + 0.2))
    all_at_once = tuple(replace(each, at=104) for each in others)
    unknown = replace(last, to=SENDER)

    def problems(**changes: object) -> tuple[str, ...]:
        return replace(good, **changes).problems  # type: ignore[arg-type]

    twice = ("1 of 31 messages did not reach Twilio exactly once",)
    assert twice == problems(arrivals=(*good.arrivals, replace(first, at=last.at)))
    assert twice == problems(arrivals=good.arrivals[:-1])
    assert twice == problems(arrivals=(*good.arrivals, unknown))
    assert ("2 of 31 messages were not delivered",) == problems(undelivered=2)
    assert ("only 0 of 20 waiting rows were sent after the urgent message",) == problems(
        arrivals=in_order
    )
    assert (
        "30 segments in one second, at a rate of 5",
        "it took 4.0 s; at 5 segments a second it takes 5.1 s",
    ) == problems(arrivals=(replace(code, at=103), *all_at_once))
    assert "were not delivered" in "".join(problems(arrivals=(), undelivered=31))
