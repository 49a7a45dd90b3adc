"""How workflows are run: in the tests inside Temporal's sandbox, in a worker without it.

The sandbox refuses what a workflow must not do, such as opening a file, when it is done. That is a
property of the code and not of the day: the tests and every replay run inside it, the linter bans
what it cannot see (TID251 in pyproject.toml), and a worker need not prove it again with each
message. Measured (docs/performance.md): a worker without it carries a sixth more messages a second.
"""

from collections.abc import Sequence
from typing import Any

from temporalio.converter import SerializationContext, StorageDriverStoreContext
from temporalio.worker import (
    UnsandboxedWorkflowRunner,
    WorkflowInstance,
    WorkflowInstanceDetails,
    WorkflowRunner,
)
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

_OURS = ("signedfor", "workflows")
_NOWHERE = StorageDriverStoreContext(target=None)


def workflow_runner() -> WorkflowRunner:
    """The runner for workers of our workflows."""
    return _Runner(UnsandboxedWorkflowRunner())


def sandboxed_runner() -> WorkflowRunner:
    """The same inside Temporal's sandbox, for tests and replays.

    Our modules are loaded once, not once for each workflow: they hold no state.
    """
    restrictions = SandboxRestrictions.default.with_passthrough_modules(*_OURS)
    return _Runner(SandboxedWorkflowRunner(restrictions=restrictions))


class _Runner(WorkflowRunner):
    """Another runner, whose runs are not asked in vain."""

    def __init__(self, inner: WorkflowRunner) -> None:
        self._inner = inner

    def prepare_workflow(self, defn: Any) -> None:
        """See base class."""
        self._inner.prepare_workflow(defn)

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        """See base class."""
        return _Instance(self._inner.create_instance(det))

    def set_worker_level_failure_exception_types(
        self, types: Sequence[type[BaseException]]
    ) -> None:
        """See base class."""
        self._inner.set_worker_level_failure_exception_types(types)


class _Instance(WorkflowInstance):
    """One run, which gives the same contexts to all payloads.

    The SDK asks three times for each payload whose it is, each time by running code in the sandbox:
    a sixth of a worker's Python time. Only a converter or codec that wants a context makes use of
    the answer, and ours want none.
    """

    def __init__(self, inner: WorkflowInstance) -> None:
        self._inner = inner

    def activate(self, act: Any) -> Any:
        """See base class."""
        return self._inner.activate(act)

    def get_serialization_context(self, command_info: Any) -> SerializationContext | None:  # noqa: ARG002 - the SDK's signature
        """None: the data converter is the same for all."""
        return None

    def get_external_store_context(self, command_info: Any) -> StorageDriverStoreContext:  # noqa: ARG002 - the SDK's signature
        """Nowhere: nothing is stored outside of Temporal."""
        return _NOWHERE

    def get_info(self) -> Any:
        """See base class."""
        return self._inner.get_info()

    def get_thread_id(self) -> int | None:
        """See base class."""
        return self._inner.get_thread_id()
