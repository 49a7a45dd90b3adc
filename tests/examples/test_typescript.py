import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from devtools.stack.local import LocalStack
from tests.examples.support import ROOT, check_service, run
from tests.fixtures.stack import NewNumber

_EXAMPLE = ROOT / "examples/typescript"
_OLDEST_NODE = (20, 3)
_UNREACHABLE = re.compile(
    r"npm error code (EAI_AGAIN|ECONNREFUSED|ECONNRESET|ENETUNREACH|ENOTFOUND|ETIMEDOUT)"
)

# `stack`: so that all tests of this module run in one process, and packages are installed once.
pytestmark = [pytest.mark.usefixtures("stack"), pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the example, beside the contract's schema, with the packages of its lock file."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        _skip("node and npm are not in PATH")
    version = run([node, "--version"], folder=ROOT).strip()
    if tuple(map(int, version.removeprefix("v").split(".")[:2])) < _OLDEST_NODE:
        _skip(f"Node.js {version} is too old")
    copy = tmp_path_factory.mktemp("checkout")
    folder = copy / "examples/typescript"
    shutil.copytree(_EXAMPLE, folder, ignore=shutil.ignore_patterns("node_modules", "dist"))
    (copy / "docs").mkdir()
    shutil.copy(ROOT / "docs/contract.schema.json", copy / "docs")
    installed = subprocess.run(
        [npm, "ci", "--prefer-offline", "--fetch-retries=1", "--no-audit", "--no-fund"],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if _UNREACHABLE.search(installed.stderr):
        _skip("the npm registry cannot be reached")
    assert 0 == installed.returncode, installed.stderr
    yield folder
    shutil.rmtree(copy)  # pytest would keep tens of megabytes of each run


def _skip(reason: str) -> NoReturn:
    if os.environ.get("REQUIRE_NODE") == "1":
        pytest.fail(f"{reason}, and REQUIRE_NODE=1 is set")
    pytest.skip(f"{reason}; set REQUIRE_NODE=1 to make this a failure")


async def test_the_service(project: Path, stack: LocalStack, new_number: NewNumber) -> None:
    """It compiles under strict rules, and does the same as the Python example."""
    run(["npm", "run", "build"], folder=project)

    await check_service(stack, new_number(), ["npm", "start", "--silent", "--"], folder=project)


def test_a_wrong_field_does_not_compile(project: Path) -> None:
    """Requests and reports have the contract's types, not `any`."""
    wrong = project / "src/wrong.ts"
    wrong.write_text(
        'import type { MessageReport, MessageRequest } from "./contract.js";\n'
        'export const request: MessageRequest = { to: "+15558675309", text: "Hello" };\n'
        "export const outcome = (report: MessageReport) => report.outcom;\n"
    )
    try:
        done = subprocess.run(
            [project / "node_modules/.bin/tsc", "--noEmit"],
            cwd=project,
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        wrong.unlink()

    assert done.returncode != 0
    assert ["2", "3"] == re.findall(r"^src/wrong\.ts\((\d+),", done.stdout, re.MULTILINE)


def test_the_types_are_those_of_the_contract(project: Path) -> None:
    """The committed types are what `npm run contract` makes of the schema."""
    generated = project / "src/contract.ts"
    generated.unlink()

    run(["npm", "run", "contract"], folder=project)

    assert (_EXAMPLE / "src/contract.ts").read_text() == generated.read_text()


def test_every_locked_package_has_its_hash() -> None:
    """And the lock file does not name the registry that it was made with."""
    locked = json.loads((_EXAMPLE / "package-lock.json").read_text())["packages"]
    packages = [each for path, each in locked.items() if path]

    assert packages
    assert [] == [each for each in packages if not each.get("integrity", "").startswith("sha512-")]
    assert [] == [each for each in packages if "resolved" in each]
