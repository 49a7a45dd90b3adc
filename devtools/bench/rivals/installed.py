"""What the rivals need, each in a virtual environment of its own under build/rivals.

Nothing of it is a dependency of ours. It is installed when the benchmark first runs, with the
hashes of its requirements file. What cannot be installed is left out, and the report says why.
"""

import hashlib
import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

from devtools.stack.local import ROOT

_HERE = Path(__file__).parent
_CACHE = ROOT / "build" / "rivals"
_INSTALL_SECONDS = 600
_LAST_CHARACTERS = 300


class Unavailable(Exception):
    """A rival cannot run here; the text says why."""


def python_of(rival: str) -> Path:
    """The Python of this rival's virtual environment, installed if it is not yet."""
    requirements = _HERE / f"requirements-{rival}.txt"
    folder = _CACHE / rival
    python = folder / "bin" / "python"
    if not _is_done(folder, requirements):
        uv = Path(sys.executable).with_name("uv")
        _run([str(uv), "venv", "-q", "--clear", "--python", sys.executable, str(folder)])
        _run(
            [
                *(str(uv), "pip", "sync", "-q", "--require-hashes", "--compile-bytecode"),
                *("--python", str(python), str(requirements)),
            ]
        )
        _mark_done(folder, requirements)
    return python


def version_of(rival: str, package: str) -> str:
    """The version of a package in this rival's requirements file."""
    for line in (_HERE / f"requirements-{rival}.txt").read_text().splitlines():
        name, _, rest = line.partition("==")
        if name == package:
            return rest.split()[0]
    raise LookupError(package)


def restate_server() -> Path:
    """The server's binary, which its npm package contains."""
    source = _HERE / "restate-server"
    folder = _CACHE / "restate-server"
    lock = source / "package-lock.json"
    if not _is_done(folder, lock):
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copyfile(source / name, folder / name)
        npm = binary("npm", "Node.js")
        _run([npm, "ci", "--ignore-scripts", "--no-fund", "--no-audit", "--prefix", str(folder)])
        _mark_done(folder, lock)
    found = sorted(folder.glob("node_modules/@restatedev/restate-server-*/bin/restate-server"))
    if not found:
        raise Unavailable("npm has no restate-server for this machine")
    return found[0]


def binary(name: str, package: str) -> str:
    """The path of a command that must be installed.

    Raises:
        Unavailable: it is not in PATH.
    """
    found = shutil.which(name)
    if found is None:
        raise Unavailable(f"no {name} in PATH (package {package})")
    return found


def postgres_binaries() -> Path:
    """The folder with initdb and postgres."""
    folders = [Path(found).resolve().parent] if (found := shutil.which("initdb")) else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for folder in folders:
        if (folder / "initdb").is_file() and (folder / "postgres").is_file():
            return folder
    raise Unavailable("no initdb and postgres (package postgresql)")


def postgres_account() -> pwd.struct_passwd | None:
    """Whom PostgreSQL runs as, which refuses to be root; None for ourselves."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise Unavailable("PostgreSQL does not run as root, and there is no user postgres or nobody")


def output_of(*command: str) -> str:
    """What the command says, such as its version."""
    return subprocess.run(  # noqa: S603 - the rival's own binary
        command, capture_output=True, text=True, check=True
    ).stdout.strip()


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(  # noqa: S603 - our own arguments
            command, capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"`{Path(command[0]).name}` failed: {type(error).__name__}") from None
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()[-_LAST_CHARACTERS:]
        raise Unavailable(f"`{Path(command[0]).name} {command[1]}` failed: {said}")


def _is_done(folder: Path, lock: Path) -> bool:
    mark = folder / ".installed"
    return mark.is_file() and mark.read_text() == _digest(lock)


def _mark_done(folder: Path, lock: Path) -> None:
    (folder / ".installed").write_text(_digest(lock))


def _digest(lock: Path) -> str:
    return hashlib.sha256(lock.read_bytes()).hexdigest()
