"""Temporal's workflow sandbox, in which tests and replays run our workflows.

It refuses what a workflow must not do, such as opening a file. That is a property of the code and
not of the day: a worker need not prove it again with each message, and runs without the sandbox.
"""

from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

_OURS = ("signedfor", "worker", "workflows")


def sandboxed_runner() -> SandboxedWorkflowRunner:
    """A sandboxed runner that loads our modules once, not once a workflow: they hold no state."""
    restrictions = SandboxRestrictions.default.with_passthrough_modules(*_OURS)
    return SandboxedWorkflowRunner(restrictions=restrictions)
