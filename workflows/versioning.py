"""Under Worker Versioning: which workflows stay on the version that they began on."""

from temporalio import workflow
from temporalio.common import VersioningBehavior

with workflow.unsafe.imports_passed_through():
    from signedfor.contract import DEAD_LETTER, DeadLetterReport, DeadLetterRequest
    from workflows.dead_letter import DeadLetter


@workflow.defn(name=DEAD_LETTER, versioning_behavior=VersioningBehavior.AUTO_UPGRADE)
class UpgradingDeadLetter(DeadLetter):
    """A dead letter that goes on with the current version, for workers that have one.

    Held for a month, it would otherwise keep the version alive that its message was sent by. It is
    a definition of its own because the server refuses every workflow task in which a worker without
    Worker Versioning names a behavior.
    """

    @workflow.run
    async def run(self, letter: DeadLetterRequest) -> DeadLetterReport:
        """See base class."""
        return await super().run(letter)
