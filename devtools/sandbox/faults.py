"""Faults on request: the steps of a script for one recipient, or steps drawn from a seeded plan."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

CallbackStatus = Literal["queued", "sent", "delivered", "undelivered", "failed", "read", "canceled"]


class Spec(BaseModel):
    """A frozen part of a control request; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class CallbackScript(Spec):
    """What happens to the status callbacks of one message; the default is nothing unusual.

    `statuses`: exactly these are posted, in this order, each after it is reached (a status that is
    never reached is posted at the end). `lost`: true for all, or the statuses never posted.
    `delay`: seconds added to each. `double`: how many times each is posted. `reorder`: the last
    status is posted before the ones that led to it. `before_response`: all are posted before the
    create is answered.
    """

    statuses: tuple[CallbackStatus, ...] | None = None
    error_code: int | None = None
    lost: bool | tuple[CallbackStatus, ...] = False
    delay: float = Field(default=0, ge=0)
    double: int = Field(default=1, ge=1, le=10)
    reorder: bool = False
    before_response: bool = False


Respond = Literal[
    "ok",
    "error",
    "error_after_accept",
    "hang_after_accept",
    "hang_before_accept",
    "drop_before_accept",
    "drop_after_accept",
    "empty_201",
    "html_201",
    "created_no_sid",
]

NOT_ACCEPTED = frozenset({"error", "hang_before_accept", "drop_before_accept"})


class Step(Spec):
    """What happens to one valid create; the default is Twilio's normal behavior.

    `respond`: what the client sees, and whether the message is accepted. `code`, `http_status`,
    `html`, `headers`: of an error answer. `stored`: whether a refusal is listed as a failed
    message (by default a 400 is). `seconds`: how long a hang lasts at most. `delay`: seconds
    before the answer. `final`, `error_code`: the status that the message reaches.
    `listed_after`: seconds from its creation until the list has it; by its sid it can be fetched
    at once.
    """

    respond: Respond = "ok"
    code: int | None = None
    http_status: int | None = Field(default=None, ge=300, le=599)
    message: str | None = None
    stored: bool | None = None
    html: bool = False
    seconds: float = Field(default=60, gt=0)
    delay: float = Field(default=0, ge=0)
    headers: dict[str, str] = Field(default_factory=dict)
    callbacks: CallbackScript = CallbackScript()
    final: Literal["delivered", "undelivered", "failed", "sent", "read"] = "delivered"
    error_code: int | None = None
    listed_after: float = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _an_error_has_a_code(self) -> Self:
        if self.respond == "error" and self.code is None and self.http_status is None:
            raise ValueError("an error needs a code or an http_status")
        return self

    @property
    def accepts(self) -> bool:
        """Whether the message is accepted, regardless of the answer."""
        return self.respond not in NOT_ACCEPTED


NORMAL = Step()


_ANSWERS: dict[str, dict[str, object]] = {
    "429": {"respond": "error", "code": 20429, "http_status": 429},
    "429_queue_full": {"respond": "error", "code": 21611, "http_status": 429},
    "500_before": {"respond": "error", "code": 20500, "http_status": 500},
    "500_after": {"respond": "error_after_accept", "code": 20500, "http_status": 500},
    "502_after": {"respond": "error_after_accept", "http_status": 502, "html": True},
    "503_before": {"respond": "error", "code": 20503, "http_status": 503},
    "503_after": {"respond": "error_after_accept", "code": 20503, "http_status": 503},
    "hang_before": {"respond": "hang_before_accept"},
    "hang_after": {"respond": "hang_after_accept"},
    "drop_before": {"respond": "drop_before_accept"},
    "drop_after": {"respond": "drop_after_accept"},
    "empty_201": {"respond": "empty_201"},
    "html_201": {"respond": "html_201"},
    "created_no_sid": {"respond": "created_no_sid"},
    "slow": {"delay": 1.0},
}
_CALLBACKS: dict[str, dict[str, object]] = {
    "callbacks_lost": {"callbacks": {"lost": True}},
    "callbacks_late": {},  # by the plan's late_seconds
    "callbacks_doubled": {"callbacks": {"double": 2}},
    "callbacks_reordered": {"callbacks": {"reorder": True}},
    "callbacks_before_response": {"callbacks": {"before_response": True}},
}
_FINALS: dict[str, dict[str, object]] = {
    "final_sent": {"final": "sent"},
    "undelivered": {"final": "undelivered", "error_code": 30003},
    "failed": {"final": "failed", "error_code": 30008},
}
_LISTING: dict[str, dict[str, object]] = {
    "listed_late": {},  # by the plan's unlisted_seconds
}
# A further group goes to the end, so that existing seeds draw the same faults.
_GROUPS = (_ANSWERS, _CALLBACKS, _FINALS, _LISTING)
FAULT_NAMES = frozenset(name for group in _GROUPS for name in group)
"""The faults that a plan may contain; a create has at most one of each group."""


class Plan(Spec):
    """Random faults: the probability of each, drawn for every valid create.

    `by` says what a draw depends on besides the seed: `recipient` and the number of creates to it
    so far (reproducible in any order of arrival), or `create`, the number of creates in all.
    """

    seed: int
    faults: dict[str, float]
    by: Literal["recipient", "create"] = "recipient"
    hang_seconds: float = Field(default=60, gt=0)
    late_seconds: float = Field(default=2, gt=0)
    unlisted_seconds: float = Field(default=60, gt=0)

    @model_validator(mode="after")
    def _probabilities_are_valid(self) -> Self:
        unknown = sorted(set(self.faults) - FAULT_NAMES)
        if unknown:
            raise ValueError(f"unknown faults; known are: {', '.join(sorted(FAULT_NAMES))}")
        if any(not 0 <= chance <= 1 for chance in self.faults.values()):
            raise ValueError("each probability must be between 0 and 1")
        for group in _GROUPS:
            # 0.7 + 0.2 + 0.1 is a little over 1 in binary.
            if sum(self.faults.get(name, 0) for name in group) > 1 + 1e-9:
                raise ValueError(f"together over 1: {', '.join(sorted(group))}")
        return self

    def draw(self, key: str) -> Step:
        """Return the step that the seed and `key` decide: one draw for each group of faults."""
        chance = Random(f"{self.seed}:{key}")
        changes: dict[str, object] = {}
        for group in _GROUPS:
            left = chance.random()
            for name, change in group.items():
                left -= self.faults.get(name, 0)
                if left < 0:
                    changes |= self._timed(name, change)
                    break
        return Step.model_validate(changes) if changes else NORMAL

    def _timed(self, name: str, change: dict[str, object]) -> dict[str, object]:
        if name == "callbacks_late":
            return {"callbacks": {"delay": self.late_seconds}}
        if name == "listed_late":
            return {"listed_after": self.unlisted_seconds}
        if name.startswith("hang"):
            return {**change, "seconds": self.hang_seconds}
        return change


@dataclass(slots=True)
class _Script:
    steps: Sequence[Step]
    then: Step
    used: int = 0

    def next(self) -> Step:
        step = self.steps[self.used] if self.used < len(self.steps) else self.then
        self.used += 1
        return step


class Faults:
    """The current scripts and plan; a script for a recipient overrides the plan."""

    def __init__(self) -> None:
        self._scripts: dict[str, _Script] = {}
        self._plan: Plan | None = None
        self._creates = 0
        self._creates_to: dict[str, int] = {}

    def script(self, to: str, steps: Sequence[Step], *, then: Step | None = None) -> None:
        """Have the next creates to `to` follow `steps`, one each, and later ones `then`."""
        self._scripts[to] = _Script(tuple(steps), then or NORMAL)

    def plan(self, plan: Plan) -> None:
        """Use `plan`, counting creates from one."""
        self.clear_plan()
        self._plan = plan

    def clear_scripts(self) -> None:
        """Remove every script."""
        self._scripts.clear()

    def clear_plan(self) -> None:
        """Remove the plan and its counts."""
        self._plan = None
        self._creates = 0
        self._creates_to.clear()

    def next(self, to: str) -> Step:
        """Return the step of the next create to `to`."""
        script = self._scripts.get(to)
        if script is not None:
            return script.next()
        if self._plan is None:
            return NORMAL
        self._creates += 1
        if self._plan.by == "create":
            return self._plan.draw(str(self._creates))
        count = self._creates_to[to] = self._creates_to.get(to, 0) + 1
        return self._plan.draw(f"{to}:{count}")
