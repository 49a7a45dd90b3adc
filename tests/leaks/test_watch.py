"""What is seen of processes while they run."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.devtools.stack.support import wait_for
from tests.leaks.places import ARGUMENTS, COMMANDS, ENVIRONMENTS, TEMPORARY, UNNAMED
from tests.leaks.watch import Watch

_CODE = """
import os, sys, tempfile
with tempfile.TemporaryFile() as unnamed, tempfile.NamedTemporaryFile() as named:
    for file in (unnamed, named):
        file.write(sys.argv[2].encode())
        file.flush()
    print("ready", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize(("module", "place"), [("worker", ARGUMENTS), ("starter", COMMANDS)])
def test_arguments_environment_and_temporary_files_are_seen(
    tmp_path: Path, module: str, place: str
) -> None:
    """Also of a file that has no name."""
    environment = {"TMPDIR": str(tmp_path), "TOKEN": "in-the-environment"}
    with (
        Watch(tmp_path) as watch,
        subprocess.Popen(
            [sys.executable, "-c", _CODE, module, "an-argument"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as process,
    ):
        assert process.stdout is not None
        assert b"ready\n" == process.stdout.readline()

        def seen(place: str, what: bytes) -> bool:
            return any(each.place == place and what in each.data for each in watch.pieces())

        for where, what in (
            (place, b"an-argument"),
            (ENVIRONMENTS, b"in-the-environment"),
            (UNNAMED, b"an-argument"),
            (TEMPORARY, b"an-argument"),
        ):
            wait_for(lambda where=where, what=what: seen(where, what), where)  # type: ignore[misc]
        process.communicate()
