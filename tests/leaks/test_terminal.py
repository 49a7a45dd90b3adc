"""What a command shows to somebody who types."""

import os
import sys
from pathlib import Path

import pytest

from tests.leaks.terminal import Typed, on_terminal

_CODE = """
import getpass, os, sys
columns = os.get_terminal_size().columns
print("\\x1b[1mname\\x1b[0m?", sys.stdin.isatty(), sys.stderr.isatty(), columns, flush=True)
print("hello", sys.stdin.readline().strip(), getpass.getpass("Password: ") == "secret")
sys.exit(3)
"""


def _run(folder: Path, *, typed: Typed) -> tuple[int, bytes]:
    return on_terminal(
        (sys.executable, "-c", _CODE), environment=dict(os.environ), folder=folder, typed=typed
    )


def test_questions_are_answered_one_after_the_other(tmp_path: Path) -> None:
    """What is typed is not shown; colors are taken off, and no line is broken."""
    code, shown = _run(tmp_path, typed=[("name?", "Ann\n"), ("Password: ", "secret\n")])

    assert 3 == code
    assert b"name? True True 4000\r\n" in shown
    assert b"hello Ann True" in shown
    assert b"secret" not in shown


def test_a_question_that_is_not_asked_is_an_error(tmp_path: Path) -> None:
    """So that a scenario does not take it for asked."""
    typed = [("name?", "Ann\n"), ("Password: ", "secret\n"), ("Continue?", "y\n")]
    with pytest.raises(AssertionError, match=r"Continue\? was not asked"):
        _run(tmp_path, typed=typed)
