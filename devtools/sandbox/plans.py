"""Faults by chance: a seeded plan that reproduces."""

from random import Random
from typing import Literal, Self

from pydantic import Field, model_validator

from devtools.sandbox.steps import NORMAL, Spec, Step

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
# A group more goes to the end, so that a seed goes on drawing what it drew before.
_GROUPS = (_ANSWERS, _CALLBACKS, _FINALS, _LISTING)
FAULT_NAMES = frozenset(name for group in _GROUPS for name in group)
"""The names a plan may give a probability to; at most one of each group strikes a create."""


class Plan(Spec):
    """Faults by chance: each name's probability, drawn anew for every valid create.

    `by` says what the chance hangs on besides the seed: `recipient` and the how-manieth create
    to it (reproduces whatever order creates arrive in), or `create`, the how-manieth in all.
    """

    seed: int
    faults: dict[str, float]
    by: Literal["recipient", "create"] = "recipient"
    hang_seconds: float = Field(default=60, gt=0)
    late_seconds: float = Field(default=2, gt=0)
    unlisted_seconds: float = Field(default=60, gt=0)

    @model_validator(mode="after")
    def _probabilities_make_sense(self) -> Self:
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
