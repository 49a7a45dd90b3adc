#!/usr/bin/env python3
"""Both lock files are in step with pyproject.toml and with each other; needs no network.

That the locks are complete, pip itself proves at each set-up: with --require-hashes it refuses a
dependency that is not in the lock.
"""

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_PINNED = re.compile(r"^(?P<name>[a-z0-9._-]+)==(?P<version>[^ ;\\]+)", re.MULTILINE)


def main() -> int:
    """Name what is out of step; 1 if anything is."""
    root = Path(__file__).resolve().parent.parent
    project = tomllib.loads((root / "pyproject.toml").read_text())
    runtime = project["project"]["dependencies"]
    development = [*runtime, *group(project["dependency-groups"], "dev")]
    production_lock = pinned(root / "requirements.lock")
    development_lock = pinned(root / "requirements-dev.lock")
    problems = [
        *missing("requirements.lock", production_lock, runtime),
        *missing("requirements-dev.lock", development_lock, development),
        *(
            f"{name} is {version} in requirements.lock, but not in requirements-dev.lock"
            for name, version in production_lock.items()
            if development_lock.get(name) != version
        ),
    ]
    for problem in problems:
        sys.stderr.write(f"{problem}; run `make lock`\n")
    return 1 if problems else 0


def group(groups: dict[str, list[Any]], name: str) -> list[str]:
    """The requirements of a dependency group, with those of the groups it includes."""
    found: list[str] = []
    for entry in groups[name]:
        found += [entry] if isinstance(entry, str) else group(groups, entry["include-group"])
    return found


def pinned(lock: Path) -> dict[str, str]:
    """The version of each package in a lock file."""
    return {
        canonicalize_name(match["name"]): match["version"]
        for match in _PINNED.finditer(lock.read_text())
    }


def missing(lock: str, versions: dict[str, str], requirements: list[str]) -> list[str]:
    """The requirements that `versions` does not meet."""
    return [
        f"{lock} does not meet {requirement}"
        for requirement in map(Requirement, requirements)
        if not requirement.specifier.contains(
            versions.get(canonicalize_name(requirement.name), "0"), prereleases=True
        )
        or canonicalize_name(requirement.name) not in versions
    ]


if __name__ == "__main__":
    sys.exit(main())
