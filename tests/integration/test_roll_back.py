"""A release that is rolled out and taken back while messages are under way."""

import asyncio
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import psycopg
import pytest

from devtools.stack.local import LocalStack
from devtools.stack.processes import basic_environment
from signedfor.contract import Outcome
from signedfor.store.migrate import NEWEST
from tests.fixtures.stack import NewNumber, silent_stack
from tests.integration.deployments import (
    DEPLOYMENT,
    another_worker,
    make_current,
    submitted,
    versions,
)
from tests.integration.support import Caller, signedfor
from tests.worker_process import ROOT, Worker

pytestmark = pytest.mark.integration

_NEXT = f"{int(NEWEST) + 1:04}"
_MIGRATION = f'''"""A column of the next release."""

import sqlalchemy as sa
from alembic import op

revision = "{_NEXT}"
down_revision = "{NEWEST}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("send_attempts", sa.Column("of_the_next_release", sa.Text()))
'''


def _next_release(folder: Path) -> Path:
    """Our code with one more migration, in a folder of its own."""
    for name in ("activities", "ops", "signedfor", "webhook", "workflows"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for name in ("starter.py", "worker.py"):
        shutil.copy(ROOT / name, folder)
    store = folder / "signedfor" / "store"
    (store / "migrations" / "versions" / f"{_NEXT}_next.py").write_text(_MIGRATION)
    program = (store / "migrate.py").read_text()
    assert f'NEWEST: Final = "{NEWEST}"' in program
    (store / "migrate.py").write_text(
        program.replace(f'NEWEST: Final = "{NEWEST}"', f'NEWEST: Final = "{_NEXT}"')
    )
    return folder


def _migrate(release: Path, stack: LocalStack) -> str:
    """Run the release's `signedfor migrate`; what it says."""
    done = subprocess.run(
        [sys.executable, "-m", "starter", "--env-file", "/dev/null", "migrate"],
        cwd=release,
        env={**basic_environment(stack.folder), **stack.settings},
        capture_output=True,
        text=True,
        check=False,
    )
    assert 0 == done.returncode, done.stderr
    return done.stdout


def _readiness(stack: LocalStack) -> str:
    with urllib.request.urlopen(f"{stack.webhook_url}/readyz") as response:  # noqa: S310 - http
        return str(response.read().decode())


@pytest.mark.timeout(240)
async def test_a_release_is_rolled_out_and_back(tmp_path: Path, new_number: NewNumber) -> None:
    """1.0, 1.1 with a migration, 1.0 again: each message ends on its version and is sent once.

    A worker of each version is killed on the way, and starts again on the other's schema.
    """
    next_release = _next_release(tmp_path / "1.1")
    versioned = {"TEMPORAL_DEPLOYMENT_NAME": DEPLOYMENT, "TEMPORAL_WORKER_BUILD_ID": "1.0"}
    with silent_stack(tmp_path / "stack", **versioned) as stack:
        caller = Caller(stack=stack, client=await stack.client())
        stack.sandbox.settings(hold=True)
        await make_current(stack, "1.0")
        on_old = await submitted(caller, new_number)
        assert '"database":"ready"' in _readiness(stack)

        applied = await asyncio.to_thread(_migrate, next_release, stack)
        await asyncio.to_thread(stack.worker.kill)
        await asyncio.to_thread(stack.worker.start)
        with another_worker(stack, "1.1", source=next_release) as worker:
            await make_current(stack, "1.1")
            on_new = await submitted(caller, new_number)
            await make_current(stack, "1.0")
            worker.process.kill()

        # Rolled back: all that the release 1.0 does when it is deployed again.
        migrated = await asyncio.to_thread(_migrate, ROOT, stack)
        for part in (stack.webhook, stack.worker):
            await asyncio.to_thread(part.kill)
            await asyncio.to_thread(part.start)
        listed = await signedfor(stack, "opt-outs", "list")
        on_old += await submitted(caller, new_number)
        stack.sandbox.settings(hold=False)
        reports = [await each.report() for each in on_old]
        waiting = [await each.handle.describe() for each in on_new]
        with another_worker(stack, "1.1", source=next_release):
            reports += [await each.report() for each in on_new]

        assert f"Applied: {_NEXT}" in applied
        assert "It may still be used." in migrated
        assert '"database":"ready, with a newer schema"' in _readiness(stack)
        assert 0 == listed.exit_code, listed.stderr
        assert 1 == stack.worker.output().count(f"The database is at migration {_NEXT}")
        assert ["RUNNING"] * len(on_new) == [each.status and each.status.name for each in waiting]
        assert {Outcome.DELIVERED} == {each.outcome for each in reports}
        assert [1] * len(reports) == [len(each.accepted()) for each in (*on_old, *on_new)]
        assert [{"1.0"}] * len(on_old) == [await versions(each.handle) for each in on_old]
        assert [{"1.1"}] * len(on_new) == [await versions(each.handle) for each in on_new]


_TOO_NEW = """
UPDATE alembic_version SET version_num = '9999';
UPDATE schema_compatibility SET oldest_program = '9999';
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid();
"""
"""A migration that older versions cannot go on with, and the end of all connections: a
worker checks each new one, and otherwise every 30 seconds."""


async def test_a_running_worker_stops_at_a_migration_that_is_marked(
    tmp_path: Path, postgres_url: str
) -> None:
    """It ends with the sentence that it does not start with either."""
    with silent_stack(tmp_path, DATABASE_URL=postgres_url) as stack:
        worker = Worker(
            {**basic_environment(stack.folder), **stack.settings}, stack.folder / "logs/another.log"
        )
        with worker, psycopg.connect(postgres_url, autocommit=True) as connection:
            worker.ready()
            stack.worker.stop()
            connection.execute(_TOO_NEW)
            code = await asyncio.to_thread(worker.exit_code)

    assert 1 == code
    assert "migration 9999, which this version cannot use" in worker.output.splitlines()[-1]
