#!/usr/bin/env python3
"""Looks for known vulnerabilities of the locked packages; says so if that was not possible.

pip-audit asks PyPI's database of advisories. Where that cannot be reached, or does not know a
package, the end is 0 with a warning, and 1 with REQUIRE_AUDIT=1, as in CI.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

_TIMEOUT_SECONDS = 300


def main(locks: list[str]) -> int:
    """Audit each lock: 1 if a package has a known vulnerability, else as the module says."""
    worst = 0
    for lock in locks:
        dependencies = _audit(lock)
        if dependencies is None:
            worst = max(worst, _not_audited(lock, "the database of advisories did not answer"))
            continue
        found = [each for each in dependencies if each.get("vulns")]
        skipped = [each for each in dependencies if "skip_reason" in each]
        for each in found:
            for vulnerability in each["vulns"]:
                fixed = ", ".join(vulnerability["fix_versions"]) or "none yet"
                _say(
                    f"{lock}: {each['name']} {each['version']}: {vulnerability['id']}; fix: {fixed}"
                )
        if found:
            worst = 1
        if skipped:
            what = f"{len(skipped)} of {len(dependencies)} packages are unknown there"
            worst = max(worst, _not_audited(lock, what))
        elif not found:
            _say(f"{lock}: {len(dependencies)} packages, no known vulnerability.")
    return worst


def _audit(lock: str) -> list[dict[str, Any]] | None:
    """What pip-audit says of each package; None if it could not be asked."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command: list[str | Path] = [
            *(Path(sys.executable).with_name("pip-audit"), "--progress-spinner", "off"),
            *("--disable-pip", "--requirement", lock, "--format", "json", "--output", report),
        ]
        try:
            done = subprocess.run(  # noqa: S603 - our own arguments
                command, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            return None
        if not report.is_file():
            _say(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "no report")
            return None
        dependencies: list[dict[str, Any]] = json.loads(report.read_text())["dependencies"]
        return dependencies


def _not_audited(lock: str, why: str) -> int:
    _say(f"{lock}: NOT AUDITED: {why}. Run `make audit` where pypi.org can be reached.")
    return 1 if os.environ.get("REQUIRE_AUDIT") == "1" else 0


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
