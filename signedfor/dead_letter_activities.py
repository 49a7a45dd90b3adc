"""The activities of a job on many dead letters as its workflow sees them. Internal."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import ClassVar, Final, Self

from pydantic import ConfigDict
from temporalio import activity

from signedfor.contract import Resolution
from signedfor.contract.base import ContractModel
from signedfor.contract.fields import Note
from signedfor.message_activities import ActivityModel

DEAD_LETTER_JOB: Final = "DeadLetterJob"
"""The workflow type."""
STOP_SIGNAL: Final = "stop"
MAX_NAMED: Final = 20
"""How many of the dead letters that a job could not resolve are named in its progress."""
CLOSED_ERROR: Final = "DeadLetterClosed"
"""The error type of a decision about a dead letter that is closed, or about to be."""
MAY_HAVE_ARRIVED_ERROR: Final = "MayHaveArrived"
"""The error type of a retry that may be a second message."""
_JOB_PREFIX: Final = "dead-letter-job:"


def job_workflow_id(job_id: str) -> str:
    """The workflow id of this job."""
    return _JOB_PREFIX + job_id


def job_id_of(workflow_id: str) -> str:
    """The job's id in its workflow id."""
    return workflow_id.removeprefix(_JOB_PREFIX)


class Skipped(StrEnum):
    """Why a dead letter was left as it was."""

    MAY_HAVE_ARRIVED = "may_have_arrived"
    """Its message may have arrived, and it was not asked to retry such messages."""
    SUPPRESSED = "suppressed"
    """The recipient must not be sent to: an opt-out, for instance."""
    EXPIRED = "expired"
    """Its message's `expires_at` has passed."""
    CLOSED = "closed"
    """It was closed in the meantime, by someone else or by a late receipt."""


class Failed(StrEnum):
    """Why a dead letter could not be resolved; it is open unless no answer came."""

    INVALID = "invalid"
    """The changes do not fit its message."""
    REFUSED = "refused"
    """Its workflow refused the decision for another reason."""
    UNREADABLE = "unreadable"
    """Its input cannot be read: it was written by a newer version, or encrypted with another key.
    """
    NO_ANSWER = "no_answer"
    """Its workflow did not answer in time; it may still carry out the decision."""


class JobState(StrEnum):
    """What a job does."""

    RUNNING = "running"
    STOPPING = "stopping"
    """It ends after the dead letters that it is at."""
    STOPPED = "stopped"
    """It ended before it came to all of them. The others are as they were."""
    FINISHED = "finished"


class Selection(ActivityModel):
    """Which dead letters: those that match, were open when the job was previewed, and still are."""

    clause: str | None = None
    """For Temporal's visibility store."""
    opened_from: datetime
    opened_until: datetime

    @property
    def query(self) -> str:
        """The clause with the times."""
        times = (
            f"StartTime >= '{self.opened_from.isoformat()}' "
            f"AND StartTime <= '{self.opened_until.isoformat()}'"
        )
        return times if self.clause is None else f"{times} AND ({self.clause})"


class Tally(ActivityModel):
    """What became of the dead letters that a job came to."""

    resolved: int = 0
    skipped: Mapping[Skipped, int] = {}
    failed: Mapping[Failed, int] = {}
    failed_ids: tuple[str, ...] = ()
    """The messages whose dead letter could not be resolved, at most `MAX_NAMED`."""

    @property
    def done(self) -> int:
        """How many it came to."""
        return self.resolved + sum(self.skipped.values()) + sum(self.failed.values())

    def plus(self, other: "Tally") -> Self:
        """Both together."""
        return self.model_copy(
            update={
                "resolved": self.resolved + other.resolved,
                "skipped": dict(Counter(self.skipped) + Counter(other.skipped)),
                "failed": dict(Counter(self.failed) + Counter(other.failed)),
                "failed_ids": (*self.failed_ids, *other.failed_ids)[:MAX_NAMED],
            }
        )


class JobRequest(ContractModel):
    """The input of a job: what to do, with which dead letters, and what it has done so far."""

    model_config = ConfigDict(extra="ignore")

    resolution: Resolution
    selection: Selection
    selected: int
    """How many there were at the preview."""
    started_at: datetime | None = None
    """None at first: a job of many dead letters continues as new."""
    page_token: bytes = b""
    tally: Tally = Tally()


class JobStop(ContractModel):
    """Signal `stop`: who stops it."""

    is_signal: ClassVar[bool] = True

    by: Note | None = None


class JobProgress(ActivityModel):
    """The answer to query `progress`, and the result of a job."""

    job_id: str
    action: str
    by: str | None
    state: JobState
    selected: int
    tally: Tally
    started_at: datetime
    ended_at: datetime | None = None
    stopped_by: str | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen."""
        return self.ended_at is not None


class PageRequest(ActivityModel):
    """Which page of the dead letters."""

    selection: Selection
    page_token: bytes


class Page(ActivityModel):
    """The messages of some dead letters, and where the next page begins; empty at the end."""

    message_ids: tuple[str, ...]
    next_page_token: bytes


class Batch(ActivityModel):
    """Some dead letters, and what to do with each. `resolution` names the job."""

    message_ids: tuple[str, ...]
    resolution: Resolution


class DeadLetterActivities(ABC):
    """What a job needs: to find its dead letters and to resolve them."""

    @activity.defn
    @abstractmethod
    async def select_dead_letters(self, request: PageRequest) -> Page:
        """The next dead letters of the selection."""

    @activity.defn
    @abstractmethod
    async def resolve_dead_letters(self, batch: Batch) -> Tally:
        """Resolve each once, even if this is retried; consent and expiry are checked again."""

    @activity.defn
    @abstractmethod
    async def count_resolved(self, batch: Batch) -> Tally:
        """How many of them the job has resolved so far; what is under way is waited for."""
