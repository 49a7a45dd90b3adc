"""The Makefile and the scripts beside it."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.devtools.stack.support import ROOT

pytestmark = pytest.mark.integration

_TARGETS = [
    "help",
    "demo",
    "up",
    "cluster",
    "test",
    "test-unit",
    "coverage",
    "histories",
    "soak",
    "fuzz",
    "bench",
    "screenshots",
    "docs",
    "check",
    "audit",
    "sbom",
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
    """`make` alone changes nothing and lists each target with its description."""
    done = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S607 - whichever make

    listed = dict(re.findall(r"^make ([\w-]+) +(\S.*)$", done.stdout, re.MULTILINE))
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
