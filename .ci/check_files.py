#!/usr/bin/env python3
"""No Python file of the project is longer than 400 lines: one job each."""

import sys
from collections.abc import Iterator
from pathlib import Path

LONGEST = 400


def main() -> int:
    """Name each file that is too long; 1 if there is one."""
    root = Path(__file__).resolve().parent.parent
    too_long = [
        f"{path.relative_to(root)}: {length} lines, at most {LONGEST} are allowed\n"
        for path in sorted(python_files(root))
        if (length := len(path.read_text().splitlines())) > LONGEST
    ]
    sys.stderr.writelines(too_long)
    return 1 if too_long else 0


def python_files(root: Path) -> Iterator[Path]:
    """The project's own files: nothing hidden, such as a virtual environment, but `.ci`."""
    for entry in root.iterdir():
        if entry.name.startswith(".") and entry.name != ".ci":
            continue
        yield from entry.rglob("*.py") if entry.is_dir() else [entry] * (entry.suffix == ".py")


if __name__ == "__main__":
    sys.exit(main())
