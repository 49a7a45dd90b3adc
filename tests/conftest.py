import os
import shutil
import signal
from collections.abc import Generator
from pathlib import Path

import pytest

pytest_plugins = [
    "tests.fixtures.databases",
    "tests.fixtures.stack",
    "tests.fixtures.temporal",
]

_STACKS = ("breakable_stack", "stack", "temporal_address")
"""Fixtures that are expensive to set up: their tests run in one process, one after another."""
_SERVERS = frozenset({*_STACKS, "postgres_server", "sandbox_url", "temporal_server", "env"})
"""Fixtures that start a server."""

_MEMORY = Path("/dev/shm")  # noqa: S108 - where Linux keeps files in memory
_ENOUGH = 2**31


def pytest_configure() -> None:
    """Give processes under test their Ctrl-C, and their files a place that is fast."""
    # A shell's background jobs inherit SIGINT ignored.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # A commit waits for the disk, against power cuts, of which no test has any.
    if _is_usable(_MEMORY):
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_MEMORY))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests that use a server as integration tests, and keep those of one server together."""
    for item in items:
        if not isinstance(item, pytest.Function):
            continue
        if _uses_a_server(item):
            item.add_marker(pytest.mark.integration)
        if item.get_closest_marker("integration"):
            item.add_marker(pytest.mark.xdist_group(_group(item)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Report a test by the name that pytest takes: `loadgroup` appends the group to it."""
    report = yield
    group = item.get_closest_marker("xdist_group")
    if group is not None:
        report.nodeid = report.nodeid.removesuffix(f"@{group.args[0]}")
    return report


def _uses_a_server(item: pytest.Function) -> bool:
    is_on_postgres = hasattr(item, "callspec") and "postgresql" in item.callspec.params.values()
    return is_on_postgres or not _SERVERS.isdisjoint(item.fixturenames)


def _group(item: pytest.Function) -> str:
    """What `--dist loadgroup` gives to one process."""
    return next((name for name in _STACKS if name in item.fixturenames), item.path.stem)


def _is_usable(folder: Path) -> bool:
    """Whether the folder takes all that tests write, and programs can be run from it."""
    if not (folder.is_dir() and os.access(folder, os.W_OK)):
        return False
    can_run = not os.statvfs(folder).f_flag & os.ST_NOEXEC
    return can_run and shutil.disk_usage(folder).free > _ENOUGH
