"""The set-up of the virtual environment, and the checks that need nothing but what it installed."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.devtools.stack.support import ROOT, wait_for

pytestmark = pytest.mark.integration

_VENV = str(ROOT / ".ci/venv")
_LOCKS = (
    "requirements.lock",
    "requirements-dev.lock",
    "devtools/sandbox/requirements.lock",
    ".ci/requirements.lock",
)


def _has_pip(venv: Path) -> bool:
    done = subprocess.run(
        [venv / "bin/python", "-m", "pip", "--version"], capture_output=True, check=False
    )
    return done.returncode == 0


def test_an_interrupted_set_up_starts_again(tmp_path: Path) -> None:
    """Ctrl-C before pip is installed leaves nothing that the next set-up would trust."""
    venv = tmp_path / "venv"
    with subprocess.Popen(
        [_VENV, str(venv), sys.executable],
        start_new_session=True,  # Ctrl-C reaches every process of the terminal's group
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as setting_up:
        wait_for((venv / "bin/python").exists, "the environment's interpreter")
        os.killpg(setting_up.pid, signal.SIGINT)
    assert 0 != setting_up.returncode
    assert not _has_pip(venv)

    subprocess.run([_VENV, str(venv)], check=True, capture_output=True)

    assert _has_pip(venv)


def test_only_a_complete_environment_is_kept(tmp_path: Path) -> None:
    """An environment that `make` has marked as complete stays; without the mark it is emptied."""
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin/python").symlink_to(sys.executable)
    half_installed = venv / "half-installed"
    half_installed.touch()
    (venv / ".ready").touch()

    subprocess.run([_VENV, str(venv)], check=True, capture_output=True)
    assert half_installed.exists()

    (venv / ".ready").unlink()
    subprocess.run([_VENV, str(venv)], check=True, capture_output=True)
    assert not half_installed.exists()


def test_make_marks_an_environment_last() -> None:
    """The mark is removed before the first package changes, and set after the last step."""
    makefile = (ROOT / "Makefile").read_text()
    [recipe] = re.findall(r"^\$\(READY\):.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    create, unmark, *install, mark = (line.strip() for line in recipe.splitlines())

    assert "@.ci/venv $(VENV) $(PYTHON)" == create
    assert ("@rm -f $@", "@touch $@") == (unmark, mark)
    assert 3 == len(install)
    assert ["--require-hashes" in line or "--no-deps" in line for line in install] == [True] * 3


def test_an_unsuitable_python_is_refused(tmp_path: Path) -> None:
    """An unsupported Python is refused with instructions; nothing is created."""
    fake = tmp_path / "python3"
    fake.write_text("#!/bin/sh\nexit 1\n")
    fake.chmod(0o755)
    venv = tmp_path / "venv"

    done = subprocess.run(
        [_VENV, str(venv), str(fake)], capture_output=True, text=True, check=False
    )

    assert 1 == done.returncode
    assert f"PYTHON={fake} is not a Python 3.11, 3.12, 3.13 or 3.14" in done.stderr
    assert not venv.exists()


def test_a_machine_without_python_gets_instructions(tmp_path: Path) -> None:
    """If no suitable Python is found, the message says how to specify one."""
    done = subprocess.run(
        ["/bin/sh", _VENV, str(tmp_path / "venv")],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert 1 == done.returncode
    assert "make PYTHON=/path/to/python3.12" in done.stderr


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of what the lock checks read, for a test to change."""
    for name in (*_LOCKS, "Makefile", "pyproject.toml", ".ci/check_modules.py", "worker.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def _check_locks(project: Path) -> subprocess.CompletedProcess[str]:
    """Run the recipe lines of `make check` that compare locks and project file."""
    ready = f"{sys.prefix}/.ready"
    recipe = subprocess.run(
        ["make", "-n", "-o", ready, "check", f"VENV={sys.prefix}"],  # noqa: S607 - whichever make
        cwd=project,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    commands = [line for line in recipe.splitlines() if "uv pip" in line]
    assert 2 == len(commands)
    return subprocess.run(
        ["/bin/sh", "-ec", "\n".join(commands)],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_locks_agree_with_the_project_file(project: Path) -> None:
    """The locked versions satisfy every requirement; checking that needs no network."""
    done = _check_locks(project)

    assert (0, "") == (done.returncode, done.stdout), done.stderr


@pytest.mark.parametrize(
    ("file", "pattern", "changed"),
    [
        ("requirements.lock", r"^twilio==\S+", "twilio==8.0.0"),
        ("devtools/sandbox/requirements.lock", r"^httpx==\S+", "httpx==0.27.0"),
        ("pyproject.toml", r'"twilio>=[^"]*"', '"twilio>=99"'),
        ("pyproject.toml", r'"pytest>=[^"]*"', '"pytest>=99"'),
    ],
)
def test_a_lock_out_of_step_is_found(project: Path, file: str, pattern: str, changed: str) -> None:
    """A version that differs between locks, or that the project file does not allow."""
    path = project / file
    text, count = re.subn(pattern, changed, path.read_text(), flags=re.MULTILINE)
    assert 1 == count
    path.write_text(text)

    done = _check_locks(project)

    assert 0 != done.returncode
    assert changed.strip('"').split("=")[0].rstrip(">") in done.stderr


def test_every_locked_package_has_its_hashes() -> None:
    """No lock names the package index that it was compiled with."""
    for name in _LOCKS:
        text = (ROOT / name).read_text()
        assert len(re.findall(r"^\S+==", text, re.MULTILINE)) == len(
            re.findall(r"^\S+==.*\\\n    --hash=sha256:", text, re.MULTILINE)
        )
        assert not re.search(r"https?://|^--", text, re.MULTILINE), name


def test_a_forbidden_import_of_a_single_module_is_found(project: Path) -> None:
    """import-linter sees packages only; top-level modules have a separate check."""
    (project / "signedfor").mkdir()
    (project / "signedfor/__init__.py").touch()
    (project / "sandbox").mkdir()
    (project / "sandbox/__init__.py").touch()
    (project / "worker.py").write_text("import signedfor\n")
    check = [sys.executable, str(project / ".ci/check_modules.py")]
    assert 0 == subprocess.run(check, check=False).returncode

    (project / "worker.py").write_text("import sandbox\n")
    (project / "settings.py").touch()
    done = subprocess.run(check, capture_output=True, text=True, check=False)

    assert 1 == done.returncode
    assert "worker.py must not import sandbox" in done.stderr
    assert "settings.py has no rule" in done.stderr
