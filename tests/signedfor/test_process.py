"""A process keeps its memory to itself, and looks for garbage when that pays."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.worker_process import ROOT

_NOBODY = 65_534

# Each runs with and without the protection: so a test shows that it would notice the lack of it.
_ABORTS = """
import ctypes, os, resource
from signedfor.process import keep_memory_private

child = os.fork()
if child == 0:
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
    {protection}
    os.abort()
status = os.waitpid(child, 0)[1]
assert os.WIFSIGNALED(status)
print(os.WCOREDUMP(status))
"""
_IS_READ = """
import ctypes, os, sys
from pathlib import Path
from signedfor.process import keep_memory_private

if os.geteuid() == 0:
    os.setgroups([])
    os.setgid({user})
    os.setuid({user})
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # setuid has forbidden it too
ready, report = os.pipe()
end, wait = os.pipe()
child = os.fork()
if child == 0:
    {protection}
    os.write(report, b".")
    os.close(wait)
    os.read(end, 1)
    os._exit(0)
os.read(ready, 1)
for name in ("environ", "mem"):
    try:
        with Path(f"/proc/{{child}}/{{name}}").open("rb"):
            print(name, "can be read")
    except PermissionError:
        print(name, "cannot be read")
os.close(wait)
os.waitpid(child, 0)
"""
_PROTECTION = "keep_memory_private()"


def _run(code: str, folder: Path, **parts: object) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code).format(**parts)],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert 0 == done.returncode, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    "only",
    [
        "",
        # Where a program takes the dumps, the limit is not asked.
        "resource.setrlimit = lambda *_: None; ",
        # Other systems have the limit only.
        "ctypes.CDLL = lambda _: type('', (), {'prctl': lambda *_: None})(); ",
    ],
    ids=["both", "without the limit", "the limit only"],
)
def test_a_process_that_crashes_leaves_no_core_dump(tmp_path: Path, only: str) -> None:
    """Whatever the limit that it was started with."""
    if _run(_ABORTS, tmp_path, protection="pass") != ["True"]:
        pytest.skip("This machine writes no core dumps.")

    assert ["False"] == _run(_ABORTS, tmp_path, protection=only + _PROTECTION)


@pytest.mark.skipif(sys.platform != "linux", reason="This is how Linux shows a process.")
@pytest.mark.parametrize("is_protected", [True, False])
def test_others_of_the_same_user_cannot_read_it(tmp_path: Path, is_protected: bool) -> None:
    """Neither its environment nor its memory."""
    what = "cannot be read" if is_protected else "can be read"
    protection = _PROTECTION if is_protected else "pass"

    assert [f"environ {what}", f"mem {what}"] == _run(
        _IS_READ, tmp_path, protection=protection, user=_NOBODY
    )


_BEGINS = """
import os, runpy, sys
from signedfor import process

process.keep_memory_private = lambda: os._exit(7)
sys.argv = ["{module}"]
runpy.run_module("{module}", run_name="__main__")
"""


@pytest.mark.parametrize("module", ["worker", "webhook", "ops", "ops.codec_server", "starter"])
def test_every_process_of_ours_begins_with_it(tmp_path: Path, module: str) -> None:
    """Before it has read a secret."""
    done = subprocess.run(
        [sys.executable, "-c", _BEGINS.format(module=module)],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        capture_output=True,
        timeout=60,
        check=False,
    )

    assert 7 == done.returncode, done.stderr


def test_garbage_is_looked_for_less_often() -> None:
    """And not among what was there before. What has become old is still found soon."""
    program = """
import gc
from signedfor.process import collect_garbage_less

before = gc.get_threshold()
collect_garbage_less()
after = gc.get_threshold()
print(before[0] < after[0], after[0] * after[1] * after[2] <= 100_000)
print(gc.get_freeze_count() > 0)
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert ["True", "True", "True"] == ran.stdout.split()
