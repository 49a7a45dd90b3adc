#!/usr/bin/env python3
"""The modules at the top import only what they may; import-linter accepts packages only."""

import ast
import sys
from pathlib import Path

MAY_IMPORT = {
    "starter": {"signedfor"},
    "worker": {"activities", "signedfor", "workflows"},
}
"""Of our own packages and modules."""


def main() -> int:
    """Name each import that is not allowed, and each module without a rule; 1 if there is one."""
    root = Path(__file__).resolve().parent.parent
    modules = {path.stem for path in root.glob("*.py")}
    ours = modules | {path.parent.name for path in root.glob("*/__init__.py")}
    problems = [f"{name}.py has no rule in {__file__}" for name in modules - MAY_IMPORT.keys()]
    for name in sorted(modules & MAY_IMPORT.keys()):
        wrong = (imported(root / f"{name}.py") & ours) - MAY_IMPORT[name]
        problems += [f"{name}.py must not import {each}" for each in sorted(wrong)]
    sys.stderr.writelines(f"{problem}\n" for problem in problems)
    return 1 if problems else 0


def imported(path: Path) -> set[str]:
    """The top-level names that a module imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


if __name__ == "__main__":
    sys.exit(main())
