"""What is checked of the packages, the image and the repository."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.worker_process import ROOT

_REAL_LOOKING = {
    # Put together, so that this file does not have them.
    "key.txt": "-----BEGIN RSA " + "PRIVATE KEY-----",
    "twilio.py": "SK" + "0f" * 16,
    "aws.env": "AKIA" + "Q7" * 8,
}


@pytest.mark.parametrize("name", _REAL_LOOKING)
def test_a_secret_is_found(name: str, tmp_path: Path) -> None:
    """The hook fails, and does not repeat the secret."""
    (tmp_path / name).write_text(f'value = "{_REAL_LOOKING[name]}"\n')

    found = _find_secrets(tmp_path / name)

    assert 1 == found.returncode
    assert name in found.stdout
    assert (
        _REAL_LOOKING[name].split('"')[-2 if '"' in _REAL_LOOKING[name] else 0] not in found.stdout
    )


def test_what_stands_for_a_secret_is_not() -> None:
    """Examples and tests have to name one now and then."""
    assert 0 == _find_secrets(ROOT / ".env.example", ROOT / "signedfor/settings.py").returncode


def test_the_hook_runs_at_each_commit() -> None:
    """With the same program as `make check`, and every hook's program exists."""
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    [repository] = config["repos"]
    programs = {hook["id"]: hook["entry"].split()[0] for hook in repository["hooks"]}

    assert ".ci/find-secrets" == programs["detect-secrets"]
    assert ".ci/find-secrets" in (ROOT / "Makefile").read_text()
    assert [] == [program for program in programs.values() if not (ROOT / program).exists()]


def test_the_bill_of_materials_names_every_package_of_the_image(tmp_path: Path) -> None:
    """With version and hashes, in CycloneDX."""
    lock = (ROOT / "requirements.lock").read_text()
    locked = {line.split("==")[0] for line in lock.splitlines() if "==" in line and line[0] != " "}
    written = tmp_path / "sbom.json"
    make = ["make", "--just-print", "sbom"]
    planned = subprocess.run(make, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    [command] = [
        each for each in planned.replace("\\\n", "").splitlines() if "cyclonedx-py" in each
    ]

    subprocess.run([*command.split()[:-1], str(written)], cwd=ROOT, capture_output=True, check=True)

    bill = json.loads(written.read_text())
    assert "CycloneDX" == bill["bomFormat"]
    components = {each["name"]: each for each in bill["components"]}
    assert locked <= components.keys()
    assert all(components[name]["version"] for name in locked)
    assert all(components[name]["externalReferences"][0]["hashes"] for name in locked)


@pytest.mark.parametrize(("required", "code"), [("", 0), ("1", 1)])
def test_an_audit_that_was_not_possible_says_so(required: str, code: int, tmp_path: Path) -> None:
    """It is no success: without a network it warns, and fails where it is required."""
    (tmp_path / "requirements.lock").write_text(f"pyyaml==6.0.3 --hash=sha256:{'0' * 64}\n")
    nowhere = "http://127.0.0.1:1"

    done = subprocess.run(
        [sys.executable, str(ROOT / ".ci/audit.py"), str(tmp_path / "requirements.lock")],
        env={
            "PATH": "/usr/bin:/bin",
            "HOME": str(tmp_path),
            "REQUIRE_AUDIT": required,
            **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), nowhere),
        },
        capture_output=True,
        text=True,
        check=False,
    )

    assert code == done.returncode
    assert "NOT AUDITED" in done.stderr
    assert "no known vulnerability" not in done.stderr


def _find_secrets(*paths: Path) -> "subprocess.CompletedProcess[str]":
    command = [str(ROOT / ".ci/find-secrets"), *map(str, paths)]
    return subprocess.run(command, capture_output=True, text=True, check=False)
