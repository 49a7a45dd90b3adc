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
class Reading:
    """Tries what no workflow may."""

    @workflow.run
    async def run(self) -> str:
        """Open a file, and say how that went."""
        try:
            with open("/dev/null"):  # noqa: ASYNC230, PTH123 - that it is refused is the point
                return "opened"
        except workflow.NondeterminismError:
            return "refused"


@pytest.mark.integration
async def test_workflows_are_tested_in_the_sandbox() -> None:
    """What the sandbox forbids is forbidden, although our modules are passed through."""
    async with (
        skipping_time() as server,
        Worker(
            server.client,
            task_queue="reading",
            workflows=[Reading],
            workflow_runner=sandboxed_runner(),
        ),
    ):
        how = await server.client.execute_workflow(Reading.run, id="reading", task_queue="reading")

    assert "refused" == how


def test_our_converter_wants_no_context() -> None:
    """The runner gives it none; a converter or codec that wants one needs another runner."""
    context = WorkflowSerializationContext(namespace="default", workflow_id="message:1")

    assert data_converter.with_context(context) is data_converter
    assert data_converter.external_storage is None


@pytest.mark.integration
def test_the_linter_sees_what_the_sandbox_does_not(tmp_path: Path) -> None:
    """A workflow module that asks for the time, for chance or for the machine does not pass."""
    module = tmp_path / "workflows" / "lately.py"
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
    for what in ("random", "time", "datetime.datetime.now", "uuid.uuid4"):
        assert f"`{what}` is banned" in done.stdout
