"""The contents and dependencies of the wheel and the source distribution."""

import json
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution, metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[1]
PYDANTIC = {
    "annotated_types",
    "pydantic",
    "pydantic_core",
    "typing_extensions",
    "typing_inspection",
}
"""Pydantic's packages, by their import names."""


UV = Path(sys.executable).with_name("uv")


def _run(*command: str | Path, cwd: Path = ROOT) -> str:
    """Run a command that must succeed; return its standard output."""
    arguments = list(map(str, command))
    done = subprocess.run(arguments, cwd=cwd, capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source distribution, built without network or isolation."""
    folder = tmp_path_factory.mktemp("dist")
    _run(sys.executable, "-m", "hatchling", "build", "-d", folder)
    return folder


@pytest.fixture(scope="module")
def base_install(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel and, beside it, the packages of its base install only.

    These are linked from the environment of the tests, so that no package index is needed.
    """
    env = tmp_path_factory.mktemp("base") / "env"
    _run(sys.executable, "-m", "venv", "--without-pip", env)
    (wheel,) = built.glob("*.whl")
    _run(UV, "pip", "install", "-q", "--python", env, "--offline", "--no-deps", wheel)
    linked = env / "linked"
    for each in _with_dependencies("cryptography", "pydantic", "temporalio"):
        _link(each, linked)
    (_site_packages(env) / "linked.pth").write_text(f"{linked}\n")
    return env


def _with_dependencies(*names: str) -> Iterator[Distribution]:
    pending, seen = list(names), set[str]()
    while pending:
        found = distribution(pending.pop())
        if found.name in seen:
            continue
        seen.add(found.name)
        yield found
        pending += [
            requirement.name
            for requirement in map(Requirement, found.requires or ())
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        ]


def _link(package: Distribution, folder: Path) -> None:
    for file in package.files or ():
        if ".." not in file.parts and file.suffix != ".pyc":
            link = folder / file
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(str(file.locate()))


def _site_packages(env: Path) -> Path:
    return Path(sysconfig.get_path("purelib", "venv", {"base": str(env)}))


def _imported(env: Path, module: str) -> set[str]:
    """The packages, beyond Python's own, that importing `module` loads."""
    code = f"import json, sys, {module}; print(json.dumps(list(sys.modules)))"
    names: list[str] = json.loads(_run(env / "bin/python", "-I", "-c", code))
    return {
        name.partition(".")[0] for name in names if not name.startswith(("__", "_sysconfigdata"))
    } - sys.stdlib_module_names


def test_the_wheel_contains_the_package_only(built: Path) -> None:
    """It installs no other top-level module, and includes the data files."""
    (path,) = built.glob("*.whl")
    names = set(zipfile.ZipFile(path).namelist())

    assert {"signedfor", "signedfor-0.1.0.dist-info"} == {each.split("/")[0] for each in names}
    tracked = _run("git", "ls-files", "signedfor").splitlines()
    sources = {each for each in tracked if (ROOT / each).exists()}
    assert {"signedfor/py.typed", "signedfor/twilio/codes.csv"} <= sources
    assert any(each.startswith("signedfor/store/migrations/versions/") for each in sources)
    assert set() == sources - names


def test_the_source_distribution_contains_the_package_only(built: Path) -> None:
    """The only other files are those needed to build it."""
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {each.name.split("/")[1] for each in archive.getmembers()}

    needed = {"signedfor", "pyproject.toml", "README.md", "LICENSE", "PKG-INFO", ".gitignore"}
    assert needed == names


def test_the_base_install_has_few_dependencies(base_install: Path) -> None:
    """Without extras, three packages are required, and only our package installed."""
    (found,) = _site_packages(base_install).glob("*.dist-info")
    requires = Distribution.at(found).requires or ()
    base = {Requirement(each).name for each in requires if Requirement(each).marker is None}

    assert {"cryptography", "pydantic", "temporalio"} == base
    assert {"signedfor", found.name, "linked.pth"} == {
        each.name for each in _site_packages(base_install).iterdir()
    }


def test_the_contract_needs_pydantic_only(base_install: Path) -> None:
    """Importing it does not even load temporalio."""
    assert {"signedfor"} | PYDANTIC == _imported(base_install, "signedfor.contract")


def test_the_client_works_on_the_base_install(base_install: Path) -> None:
    """Importing it loads temporalio, but nothing that only an extra installs."""
    imported = _imported(base_install, "signedfor.client")

    assert {"signedfor", "temporalio"} <= imported
    others = {"signedfor", "temporalio", "google", "nexusrpc", "cryptography"}
    others |= {"_cffi_backend", "_openssl"}  # cryptography's
    assert set() == imported - PYDANTIC - others


def test_both_extras_are_offered() -> None:
    """The command line and the application each have an extra."""
    extras = metadata("signedfor").get_all("Provides-Extra")

    assert {"cli", "server"} <= set(extras or ())


@pytest.mark.parametrize("module", ["worker", "webhook.app", "starter"])
def test_modules_of_the_working_folder_are_not_picked_up(module: str, tmp_path: Path) -> None:
    """A working folder may have a settings.py or logs.py of its own."""
    for name in ("settings", "logs", "store", "cli", "messaging"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong module')\n")

    _run(sys.executable, "-c", f"import {module}", cwd=tmp_path)
