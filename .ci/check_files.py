#!/usr/bin/env python3
"""No Python file of the project is longer than 400 lines: one job each."""

import subprocess
import sys
from pathlib import Path

LONGEST = 400
_NOT_IGNORED = ("--cached", "--others", "--exclude-standard")


def main() -> int:
    """Name each file that is too long; 1 if there is one."""
    root = Path(__file__).resolve().parent.parent
    listed = subprocess.run(  # noqa: S603 - our own arguments
        ["git", "ls-files", "-z", *_NOT_IGNORED, "*.py"],  # noqa: S607 - whichever git
        cwd=root,
        check=True,
        capture_output=True,
        text=True,
    )
    lengths = {
        name: len((root / name).read_text().splitlines())
        for name in listed.stdout.split("\0")
        if name and (root / name).exists()
    }
    too_long = {name: length for name, length in lengths.items() if length > LONGEST}
    for name, length in sorted(too_long.items()):
        sys.stderr.write(f"{name}: {length} lines, at most {LONGEST} are allowed\n")
    return 1 if too_long else 0


if __name__ == "__main__":
    sys.exit(main())
