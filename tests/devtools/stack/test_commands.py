"""The Makefile and the scripts beside it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.devtools.stack.support import ROOT

pytestmark = pytest.mark.integration

_TARGETS = [
    "help",
    "demo",
    "up",
    "test",
    "histories",
    "soak",
    "bench",
    "check",
    "format",
    "lock",
    "clean",
]
_SCRIPTS = sorted(
    path
    for folder in (".ci", "compose")
    for path in (ROOT / folder).iterdir()
    if path.is_file() and path.read_bytes().startswith((b"#!/bin/sh", b"#!/usr/bin/env bash"))
)


def test_make_lists_its_targets() -> None:
    """`make` alone changes nothing and lists each target with what it does."""
    done = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S607 - whichever make

    listed = dict(re.findall(r"^make (\w+) +(\S.*)$", done.stdout, re.MULTILINE))
    assert _TARGETS == list(listed)
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony is not None
    assert set(_TARGETS) == set(phony[1].split())


@pytest.mark.parametrize("script", _SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_well_formed(script: Path) -> None:
    """Each shell script parses in its own shell, stops at the first error, and is executable."""
    first, *_ = script.read_text().splitlines()
    shell = "bash" if "bash" in first else "sh"

    subprocess.run([shell, "-n", str(script)], check=True)

    assert os.access(script, os.X_OK)
    if script.name != "signedfor":  # one line, and that replaces the shell
        assert re.search(r"^set -eu", script.read_text(), re.MULTILINE)


def test_an_unsuitable_python_is_refused(tmp_path: Path) -> None:
    """A Python out of range is refused with what to do; nothing is made."""
    fake = tmp_path / "python3"
    fake.write_text("#!/bin/sh\nexit 1\n")
    fake.chmod(0o755)
    venv = tmp_path / "venv"

    done = subprocess.run(
        [str(ROOT / ".ci/venv"), str(venv), str(fake)], capture_output=True, text=True, check=False
    )

    assert 1 == done.returncode
    assert f"PYTHON={fake} is not a Python 3.11, 3.12 or 3.13" in done.stderr
    assert not venv.exists()


def test_no_python_at_all_is_told(tmp_path: Path) -> None:
    """Where no suitable Python is found, the message says how to name one."""
    done = subprocess.run(
        ["/bin/sh", str(ROOT / ".ci/venv"), str(tmp_path / "venv")],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert 1 == done.returncode
    assert "make PYTHON=/path/to/python3.12" in done.stderr


def test_a_part_of_a_lock_keeps_its_hashes() -> None:
    """What is taken out of a lock is whole, and a name that is not in it is an error."""
    script, lock = str(ROOT / "compose/part-of-lock"), str(ROOT / "requirements-dev.lock")

    part = subprocess.run(
        [script, lock, "httpx", "h11"], capture_output=True, text=True, check=True
    ).stdout
    missing = subprocess.run([script, lock, "http"], capture_output=True, text=True, check=False)

    assert ["httpx", "h11"] == re.findall(r"^([a-z0-9]+)==", part, re.MULTILINE)
    assert part.count("--hash=sha256:") >= 2
    assert (1, "http is not in the lock\n") == (missing.returncode, missing.stderr)


def test_long_files_and_loose_locks_are_found(tmp_path: Path) -> None:
    """The two checks beside the linters fail on what they are there for."""
    shutil.copytree(ROOT / ".ci", tmp_path / ".ci")
    for name in ("pyproject.toml", "requirements.lock", "requirements-dev.lock"):
        shutil.copy(ROOT / name, tmp_path)
    assert ["", "", ""] == [_check(tmp_path, each) for each in ("files", "locks", "modules")]

    (tmp_path / "worker.py").write_text("import sandbox\n" + "x = 1\n" * 400)
    (tmp_path / "sandbox").mkdir()
    (tmp_path / "sandbox/__init__.py").touch()
    lock = tmp_path / "requirements.lock"
    lock.write_text(re.sub(r"^twilio==\S+", "twilio==8.0.0", lock.read_text(), flags=re.MULTILINE))

    assert "worker.py: 401 lines" in _check(tmp_path, "files")
    assert "requirements.lock does not meet twilio" in _check(tmp_path, "locks")
    assert "worker.py must not import sandbox" in _check(tmp_path, "modules")


def _check(root: Path, name: str) -> str:
    """What a check complains about; nothing if it passes."""
    done = subprocess.run(
        [sys.executable, str(root / f".ci/check_{name}.py")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode != 0) == bool(done.stderr)
    return done.stderr
