from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    import subprocess
    import sys
    from pathlib import Path

    import pytest
    from temporalio.converter import WorkflowSerializationContext
    from temporalio.worker import Worker

    from devtools.workflow_sandbox import sandboxed_runner
    from signedfor.payloads import data_converter
    from tests.devtools.stack.support import ROOT
    from tests.workflows.fakes import skipping_time


@workflow.defn
class OpensFile:
    """Does what the workflow sandbox forbids."""

    @workflow.run
    async def run(self) -> str:
        """Try to open a file."""
        try:
            with open("/dev/null"):  # noqa: ASYNC230, PTH123 - the sandbox must refuse this
                return "opened"
        except workflow.NondeterminismError:
            return "refused"


@pytest.mark.integration
async def test_workflow_tests_run_in_the_sandbox() -> None:
    """The sandbox's restrictions apply although our modules are passed through."""
    async with (
        skipping_time() as server,
        Worker(
            server.client,
            task_queue="sandbox",
            workflows=[OpensFile],
            workflow_runner=sandboxed_runner(),
        ),
    ):
        result = await server.client.execute_workflow(
            OpensFile.run, id="sandbox", task_queue="sandbox"
        )

    assert "refused" == result


def test_the_data_converter_needs_no_serialization_context() -> None:
    """The runner does not provide one; a converter or codec that uses it needs another runner."""
    context = WorkflowSerializationContext(namespace="default", workflow_id="message:1")

    assert data_converter.with_context(context) is data_converter
    assert data_converter.external_storage is None


@pytest.mark.integration
def test_the_linter_forbids_nondeterminism_in_workflows(tmp_path: Path) -> None:
    """A workflow module that uses the clock, random numbers or random UUIDs fails the lint."""
    module = tmp_path / "workflows" / "nondeterministic.py"
    module.parent.mkdir()
    module.write_text(
        "import random\nimport time\nfrom datetime import UTC, datetime\nfrom uuid import uuid4\n\n"
        "x = (random.random(), time.time(), datetime.now(UTC), uuid4())\n"
    )
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())

    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--select", "TID251", "workflows"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert 1 == done.returncode
    for name in ("random", "time", "datetime.datetime.now", "uuid.uuid4"):
        assert f"`{name}` is banned" in done.stdout
