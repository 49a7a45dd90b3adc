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
from devtools.stack.overtaking import (
    CODE_TO,
    RECIPIENTS,
    SENDER,
    Arrival,
    Overtaking,
    texts,
)
from devtools.stack.play import _differences
from devtools.stack.ports import HOST
from devtools.stack.scenarios import SCENARIOS, Expected
from tests.devtools.stack.support import is_gone, running, wait_for

_TOLD = (
    r"delivered: The carrier confirmed delivery\.",
    r"suppressed: The recipient has opted out\.",
    r"failed: The recipient is not a valid phone number\.",
    r"\(3 attempts\)",
    r"undelivered: The recipient's number is a landline",
    r"unconfirmed: Twilio took it, but no receipt came in time\.",
    r"The code is handed in: \d+ rows are sent, [1-9]\d* wait\.",
    r"The code reaches Twilio, \d+\.\d\d s later and before [1-9]\d* rows\.",
    r"All 30 rows and the code were sent exactly once, and delivered\.",
    r"The busiest second had \d+ segments",
    r"No phone number, text or token in \d+ lines of 5 logs\.",
)
_WORKFLOWS = (
    *(f"message%3Ademo-{each.name}" for each in SCENARIOS),
    "campaign%3Ademo-fair",
    "message%3Ademo-code",
)


def _numbers_and_texts() -> list[str]:
    numbers = [SENDER, CODE_TO, *RECIPIENTS, *(each.to for each in SCENARIOS)]
    return [*(each.lstrip("+") for each in numbers), *texts(), *(each.text for each in SCENARIOS)]


def _wait_until_said(line: str, output: Path, process: subprocess.Popen[bytes]) -> None:
    wait_for(lambda: line in output.read_text() or process.poll() is not None, line)


@pytest.mark.timeout(240)
@pytest.mark.integration
def test_the_demo(tmp_path: Path) -> None:
    """It tells how all ended, with links that work while it stays up; then it leaves nothing.

    Ctrl-C ends it with 0, which says that all went as it must. It says no number and no text.
    """
    output, temporary = tmp_path / "output", tmp_path / "tmp"
    temporary.mkdir()
    with running("devtools.stack.demo", output, TMPDIR=str(temporary), STAY="1") as process:
        _wait_until_said("All six ended after", output, process)
        _wait_until_said("Ctrl-C ends it.", output, process)
        family = psutil.Process(process.pid).children(recursive=True)
        page = next(line for line in output.read_text().splitlines() if "message%3A" in line)
        with socket.create_connection((HOST, urlsplit(page.strip()).port), timeout=10):
            pass

        process.send_signal(signal.SIGINT)

        assert 0 == process.wait(60), output.read_text()
        wait_for(lambda: all(is_gone(each) for each in family), "the end of every process")
    said = output.read_text()
    assert [] == [text for text in _TOLD if not re.search(text, said)]
    for workflow in _WORKFLOWS:
        assert f"/namespaces/default/workflows/{workflow}\n" in said
    assert [] == [canary for canary in _numbers_and_texts() if canary in said]
    assert [] == list(temporary.iterdir())


def test_a_named_folder_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where DATA_DIR names the folder, it stays; a temporary one is for the demo alone."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    assert (tmp_path / "data", True) == _folder()

    monkeypatch.delenv("DATA_DIR")
    temporary, is_kept = _folder()
    assert (tmp_path, False) == (temporary.parent, is_kept)


@pytest.mark.integration
def test_the_demo_wants_an_empty_folder(tmp_path: Path) -> None:
    """A folder with something in it is refused: an earlier demo's opt-outs would count."""
    (tmp_path / "signedfor.db").touch()
    output = tmp_path / "output"
    with running("devtools.stack.demo", output, DATA_DIR=str(tmp_path)) as process:
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


def _as_it_must_be() -> Overtaking:
    """The code is handed in after ten rows and goes in between, at five a second."""
    rows = [Arrival(at=100 + number / 5, to=to) for number, to in enumerate(RECIPIENTS)]
    late = [replace(each, at=each.at + 0.2) for each in rows[11:]]
    code = Arrival(at=102.1, to=CODE_TO)
    return Overtaking(began=100, handed_in=101.9, arrivals=(*rows[:11], code, *late), undelivered=0)


def test_an_overtaking_is_told_in_order() -> None:
    """Who was sent and who waited as the code came, how long it took, and the busiest second."""
    seen = _as_it_must_be()

    assert () == seen.problems
    assert (10, 20, 19, 6) == (seen.sent_before, seen.waiting, seen.overtaken, seen.busiest)
    assert [
        "The campaign begins: `signedfor campaign start recipients.csv --yes`.",
        "The first row reaches Twilio.",
        "The code is handed in: 10 rows are sent, 20 wait.",
        "The code reaches Twilio, 0.20 s later and before 19 rows.",
        "The last row reaches Twilio.",
    ] == [what for _, what in seen.timeline]


def test_what_is_wrong_with_an_overtaking_is_named() -> None:
    """A row twice or not at all, a code in line, no pace, or nothing delivered: each is found."""
    good = _as_it_must_be()
    first, *_, last = good.arrivals
    code = good.code
    assert code is not None
    others = tuple(each for each in good.arrivals if each != code)
    in_line = (*others, replace(code, at=last.at + 0.2))
    all_at_once = tuple(replace(each, at=104) for each in others)
    stranger = replace(last, to=SENDER)

    def problems(**changes: object) -> tuple[str, ...]:
        return replace(good, **changes).problems  # type: ignore[arg-type]

    twice = ("1 of 31 messages did not reach Twilio exactly once",)
    assert twice == problems(arrivals=(*good.arrivals, replace(first, at=last.at)))
    assert twice == problems(arrivals=good.arrivals[:-1])
    assert twice == problems(arrivals=(*good.arrivals, stranger))
    assert ("2 of 31 messages were not delivered",) == problems(undelivered=2)
    assert ("the code overtook 0 of 20 rows that waited",) == problems(arrivals=in_line)
    assert (
        "30 segments reached Twilio in one second, at 5 a second",
        "it was over in 4.0 s; at 5 a second it takes 5.1 s",
    ) == problems(arrivals=(replace(code, at=103), *all_at_once))
    assert "were not delivered" in "".join(problems(arrivals=(), undelivered=31))
