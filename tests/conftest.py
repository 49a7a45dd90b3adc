import os
import re
import shutil
import signal
from pathlib import Path

import pytest

pytest_plugins = [
    "tests.fixtures.browser",
    "tests.fixtures.clocks",
    "tests.fixtures.databases",
    "tests.fixtures.stack",
    "tests.fixtures.temporal",
]

_STACKS = ("breakable_stack", "stack")
"""Fixtures of a session that are expensive to set up: one process runs all tests of one."""
_SERVERS = frozenset(
    {*_STACKS, "postgres_server", "sandbox_url", "temporal_server", "env", "browser"}
)
"""Fixtures that start a server, or a browser."""

_MEMORY = Path("/dev/shm")  # noqa: S108 - where Linux keeps files in memory
_ENOUGH = 2**31


def pytest_configure() -> None:
    """Give processes under test their Ctrl-C, and their files a place that is fast."""
    # A shell's background jobs inherit SIGINT ignored.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # Most tests are not about encryption. Stacks of processes encrypt, with a key of their own.
    os.environ.setdefault("PAYLOAD_ENCRYPTION", "off")
    # A commit waits for the disk, against power cuts, of which no test has any.
    if _is_usable(_MEMORY):
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_MEMORY))


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the groups in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests that use a server as integration tests, group and sort tests for pytest-xdist.

    Tests that share a stack, or a fixture of their module, run in one process, so that it is set
    up once. Long tests come first, so that no process is left with one when the others have ended.
    """
    for item in items:
        if not isinstance(item, pytest.Function):
            continue
        if _uses_a_server(item):
            item.add_marker(pytest.mark.integration)
        if (group := _group(item)) is not None:
            item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=_is_short)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Report a test by the name that pytest takes: `loadgroup` appends the group to it."""
    if hasattr(report, "node"):  # in the process that collects what the others report
        report.nodeid = re.sub(r"@\w+$", "", report.nodeid)


def _uses_a_server(item: pytest.Function) -> bool:
    is_on_postgres = hasattr(item, "callspec") and "postgresql" in item.callspec.params.values()
    return is_on_postgres or not _SERVERS.isdisjoint(item.fixturenames)


def _group(item: pytest.Function) -> str | None:
    """What `--dist loadgroup` runs in one process; None for a test that can run anywhere."""
    scopes = {
        name: definitions[-1].scope
        for name, definitions in item._fixtureinfo.name2fixturedefs.items()
    }
    stack = next((name for name in _STACKS if scopes.get(name) == "session"), None)
    return stack or (item.path.stem if "module" in scopes.values() else None)


def _is_short(item: pytest.Item) -> tuple[bool, bool]:
    """Sorts tests that allow themselves more time first, then integration tests."""
    return (
        item.get_closest_marker("timeout") is None,
        item.get_closest_marker("integration") is None,
    )


def _is_usable(folder: Path) -> bool:
    """Whether the folder takes all that tests write, and programs can be run from it."""
    if not (folder.is_dir() and os.access(folder, os.W_OK)):
        return False
    can_run = not os.statvfs(folder).f_flag & os.ST_NOEXEC
    return can_run and shutil.disk_usage(folder).free > _ENOUGH
