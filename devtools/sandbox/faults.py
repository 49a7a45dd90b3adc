"""Faults on request: steps scripted for one recipient, or drawn from a seeded plan."""

from collections.abc import Sequence
from dataclasses import dataclass

from devtools.sandbox.plans import Plan
from devtools.sandbox.steps import NORMAL, Step


@dataclass(slots=True)
class _Script:
    steps: Sequence[Step]
    then: Step
    taken: int = 0

    def next(self) -> Step:
        step = self.steps[self.taken] if self.taken < len(self.steps) else self.then
        self.taken += 1
        return step


class Faults:
    """The scripts and the plan in force; a script for a recipient goes before the plan."""

    def __init__(self) -> None:
        self._scripts: dict[str, _Script] = {}
        self._plan: Plan | None = None
        self._creates = 0
        self._creates_to: dict[str, int] = {}

    def script(self, to: str, steps: Sequence[Step], *, then: Step | None = None) -> None:
        """Have the coming creates to `to` follow `steps`, one each, and then `then`."""
        self._scripts[to] = _Script(tuple(steps), then or NORMAL)

    def plan(self, plan: Plan) -> None:
        """Put `plan` in force, counting creates from one."""
        self.clear_plan()
        self._plan = plan

    def clear_scripts(self) -> None:
        """Forget every script."""
        self._scripts.clear()

    def clear_plan(self) -> None:
        """Forget the plan and its counts."""
        self._plan = None
        self._creates = 0
        self._creates_to.clear()

    def next(self, to: str) -> Step:
        """Return the step for the coming create to `to`."""
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
